# Petalscope's commands. Run `make` without arguments to list them.
#
# Each command installs its dependencies into .venv, again after a change of the requirements file.
# If an installation was interrupted, repeat the command. Needs GNU make 3.81 or newer.

DEVICE ?= $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
KIND := $(if $(filter cuda,$(DEVICE)),cuda,cpu)

VENV := .venv
IN_VENV := $(VENV)/bin/python

# The interpreter for .venv is the first that runs and is new enough. Version managers put commands
# on the PATH that may not run, so finding a command is not enough.
PYTHON ?=
CANDIDATES = $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)

# .venv is usable if its interpreter runs and pip is completely installed (its RECORD is written
# last). An upgrade of the system's Python can break both.
VENV_WORKS = $(IN_VENV) -c 'import importlib.metadata as m, sys; \
    sys.exit(sys.version_info < (3, 11) or not m.files("pip"))' 2>/dev/null
BROKEN := $(shell $(VENV_WORKS) || echo broken)

# On Linux, PyTorch from PyPI requires 5 GB of CUDA libraries. This index has wheels without them.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
CPU_SET := $(VENV)/cpu-requirements.txt

# Create .venv if needed and install $<. On a CPU, PyTorch comes from TORCH_INDEX if that answers.
# Those wheels satisfy the pins of every device, so DEVICE=cuda removes them first.
#
# The lock on the Makefile serializes concurrent makes. It ends with the shell that holds file
# descriptor 9, so a killed make leaves no lock behind.
define install
set -e; python=; old=; \
for name in $(CANDIDATES); do \
    version=$$($$name -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
    case $$version in \
        3.1[1-9] | 3.[2-9][0-9]) python=$$name; break ;; \
        *) old=$${old:-$$name is $$version} ;; \
    esac; \
done; \
remedy="install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python) or name it, as in: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; \
if [ -z "$$python" ] && [ -n "$$old" ]; then \
    echo "Petalscope needs Python 3.11 or newer, but $$old: $$remedy" >&2; exit 1; \
elif [ -z "$$python" ]; then \
    echo "Petalscope needs Python 3.11 or newer, and no $(firstword $(CANDIDATES)) starts here: $$remedy" >&2; exit 1; \
elif ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
    echo "$$python has no venv module: install it (Debian, Ubuntu: apt install python$$version-venv) and run make again." >&2; exit 1; \
fi; \
exec 9>>Makefile; $$python -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'; \
$(VENV_WORKS) || $$python -m venv --clear $(VENV); \
set=$<; torch=$$(sed -nE 's/^(torch|torchvision)==([^ ;]+).*/\1==\2+cpu/p' $<); \
if [ -z "$$torch" ]; then :; \
elif [ "$(KIND)" = cuda ]; then \
    if [ -e $(CPU_SET) ]; then \
        $(IN_VENV) -m pip uninstall --quiet --yes torch torchvision; \
        rm -f $(CPU_SET) $(VENV)/.*-cpu; \
    fi; \
elif [ "$$(uname)" = Linux ]; then \
    if $(IN_VENV) -m pip install --retries 0 --timeout 10 --no-deps --index-url $(TORCH_INDEX) $$torch 2>/dev/null; then \
        set=$(CPU_SET); grep -vE '^(cuda|nvidia|triton)' $< > $$set; rm -f $(VENV)/.*-cuda; \
    else \
        echo "PyTorch without CUDA is not available from $(TORCH_INDEX). Installing it with CUDA, which takes 5 GB more; TORCH_INDEX=... names another index." >&2; \
    fi; \
fi; \
$(IN_VENV) -m pip install --requirement $$set; \
$(IN_VENV) -m pip install --no-deps --editable .; \
touch $@
endef

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

.PHONY: serve
serve: $(VENV)/.serve-$(KIND) ## serve on http://localhost:8000 (DEVICE=cpu, DEVICE=cuda)
	@exec $(IN_VENV) -m gunicorn --config gunicorn.conf.py

.PHONY: pictures
pictures: $(VENV)/.pictures ## download pictures of the flowers for the pages; repeat it if some are missing
	@exec $(IN_VENV) scripts/make_pictures.py $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev-$(KIND) ## check style, types and imports
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m mypy
	$(IN_VENV) -c 'from importlinter.cli import lint_imports_command as lint; lint()'

# Two processes share the tests. `worksteal` keeps neighbouring tests, which share fixtures, together.
WORKERS ?= 2
PYTEST = $(IN_VENV) -m pytest --numprocesses $(WORKERS) --dist

.PHONY: check
check: lint ## lint, and run the fast tests (about a minute)
	$(PYTEST) worksteal --durations 5 --durations-min 3 -m "not slow and not browser and not redis and not nginx and not docker and not postgresql"

# A process that trained with PyTorch and ran OpenVINO crashed on signals, so OpenVINO's tests have
# processes of their own. Tests of response times run beside each other only: most of them wait.
# `loadfile` keeps a file in one process: the container's tests share one image, and take longest.
# BESIDE_TESTS, which start many processes and train none here, fill the other process meanwhile.
BACKEND_TESTS := tests/model/backends tests/scripts/test_export.py
TIMED_TESTS := tests/adversarial/timed
CONTAINER_TESTS := tests/deploy/test_container.py
BESIDE_TESTS := tests/deploy/test_rollout.py tests/deploy/test_slurm.py tests/clients
SECOND := $(CONTAINER_TESTS) $(BACKEND_TESTS) $(BESIDE_TESTS)

.PHONY: test
test: lint ## lint, and run all tests
	$(PYTEST) worksteal $(patsubst %,--ignore=%,$(SECOND) $(TIMED_TESTS))
	$(PYTEST) loadfile --no-loadscope-reorder $(SECOND)
	$(PYTEST) loadfile $(TIMED_TESTS)

.PHONY: soak
soak: $(VENV)/.dev-$(KIND) ## measure a normal client beside 50 attacking connections (ARGS="--seconds 120")
	@exec $(IN_VENV) -m tests.adversarial.soak $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.dev-$(KIND) ## send 20,000 mutated uploads and 500 requests per API operation (FUZZ_SEED=1 sends others)
	FUZZ_MUTATIONS=20000 CONTRACT_EXAMPLES=500 $(IN_VENV) -m pytest -s tests/adversarial/test_fuzz.py tests/contract

.PHONY: train
train: $(VENV)/.train-$(KIND) ## train a checkpoint: make train ARGS="..." (ARGS=--help lists the options)
	@exec $(IN_VENV) scripts/train.py $(ARGS)

.PHONY: bundle
bundle: $(VENV)/.train-$(KIND) ## train, calibrate and export the bundled model; repeat it to resume
	@exec $(IN_VENV) scripts/bundle.py $(ARGS)

.PHONY: format
format: $(VENV)/.dev-$(KIND) ## fix and format the code
	$(IN_VENV) -m ruff check --fix
	$(IN_VENV) -m ruff format

# Pins that satisfy pyproject.toml stay; `make lock UPGRADE=1` takes the newest versions. All files
# take the versions of the largest set, so that one can be installed over another.
COMPILE = $(IN_VENV) -m uv pip compile --quiet --universal --python-version 3.11 \
    --fork-strategy fewest --no-annotate --custom-compile-command "make lock"

.PHONY: lock
lock: $(VENV)/.dev-$(KIND) ## compile requirements*.txt from pyproject.toml (UPGRADE=1 takes the newest versions)
	$(COMPILE) pyproject.toml --extra dev $(if $(UPGRADE),--upgrade) -o requirements-dev.txt
	$(COMPILE) pyproject.toml --extra train --upgrade -c requirements-dev.txt -o requirements-train.txt
	$(COMPILE) pyproject.toml --extra bulk --upgrade -c requirements-dev.txt -o requirements-bulk.txt
	$(COMPILE) pyproject.toml --extra cuda --upgrade -c requirements-dev.txt -o requirements-cuda.txt
	$(COMPILE) pyproject.toml --extra pictures --upgrade -c requirements-dev.txt -o requirements-pictures.txt
	$(COMPILE) pyproject.toml --extra heif --upgrade -c requirements-dev.txt -o requirements-heif.txt
	$(COMPILE) pyproject.toml --upgrade -c requirements-dev.txt -o requirements.txt

# requirements-dev.txt contains the pins of every other set. --strict, because pip-audit otherwise
# succeeds without having checked anything if it finds no vulnerability data.
.PHONY: audit
audit: $(VENV)/.dev-$(KIND) ## check the pinned versions for known vulnerabilities (needs the network)
	@$(IN_VENV) -m uv tool run --from 'pip-audit>=2.10,<3' pip-audit --strict --no-deps --disable-pip \
	    --progress-spinner off --requirement requirements-dev.txt \
	|| { echo "make audit failed. Vulnerable packages: raise their floor in pyproject.toml, then run \`make lock UPGRADE=1\`. Packages not found, or no connection: run it where the vulnerability data of PyPI can be reached." >&2; exit 1; }

.PHONY: clean
clean: ## remove .venv and all caches; data, runs and checkpoints stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find app model scripts tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.serve-cpu: requirements.txt pyproject.toml $(BROKEN)
	@$(install)

# Serving needs PyTorch only on an NVIDIA GPU.
$(VENV)/.serve-cuda: requirements-cuda.txt pyproject.toml $(BROKEN)
	@$(install)

$(VENV)/.pictures: requirements-pictures.txt pyproject.toml $(BROKEN)
	@$(install)

$(VENV)/.train-$(KIND): requirements-train.txt pyproject.toml $(BROKEN)
	@$(install)

$(VENV)/.dev-$(KIND): requirements-dev.txt pyproject.toml $(BROKEN)
	@$(install)

.PHONY: broken
broken: ;
