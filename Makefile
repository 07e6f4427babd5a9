# Petalscope's commands; `make` alone lists them.
#
# Each installs what it needs into .venv first, and again when a requirements file has changed. An
# install that was interrupted goes on when the command is repeated. GNU make 3.81 is enough.

VENV := .venv
IN_VENV := $(VENV)/bin/python

# The interpreter that .venv is made with: any that starts and is new enough. A version manager can
# have names on the PATH that start nothing, so being there does not count.
PYTHON ?=
CANDIDATES = $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)

# .venv is of use while its interpreter starts and its pip was installed to the end (RECORD is the
# last file to be written); an upgrade of the system's Python can end either.
VENV_WORKS = $(IN_VENV) -c 'import importlib.metadata as m, sys; \
    sys.exit(sys.version_info < (3, 11) or not m.files("pip"))' 2>/dev/null
BROKEN := $(shell $(VENV_WORKS) || echo broken)

# Makes .venv where needed and installs $<. The lock, on this file, lasts as long as the shell that
# has it open as 9, so that two makes at once take turns and a killed one leaves nothing behind.
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
$(IN_VENV) -m pip install --requirement $<; \
$(IN_VENV) -m pip install --no-deps --editable .; \
touch $@
endef

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile

# PyTorch is installed, several gigabytes of it, where there is an NVIDIA GPU to run it on.
DEVICE ?= $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)

.PHONY: serve
serve: $(VENV)/$(if $(filter cuda,$(DEVICE)),.cuda,.serve) ## serve on http://localhost:8000 (DEVICE=cpu, DEVICE=cuda)
	@exec $(IN_VENV) -m gunicorn --config gunicorn.conf.py

# OpenVINO's tests have a process of their own: in one that PyTorch trains in too, signals were seen
# to crash it. No service has both at work.
OPENVINO_TESTS := tests/model/backends/test_openvino_backend.py tests/model/backends/test_quantization.py \
    tests/scripts/test_export.py

.PHONY: test
test: $(VENV)/.dev ## check style and types, and run the tests
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m mypy
	$(IN_VENV) -c 'from importlinter.cli import lint_imports_command as lint; lint()'
	$(IN_VENV) -m pytest $(OPENVINO_TESTS:%=--ignore=%)
	$(IN_VENV) -m pytest $(OPENVINO_TESTS)

.PHONY: soak
soak: $(VENV)/.dev ## send the service 20,000 mutated uploads, and all that its API allows (FUZZ_SEED=1 sends others)
	FUZZ_MUTATIONS=20000 CONTRACT_EXAMPLES=500 $(IN_VENV) -m pytest -s tests/adversarial/test_fuzz.py tests/contract

.PHONY: train
train: $(VENV)/.train ## train a checkpoint: make train ARGS="..." (ARGS=--help lists them)
	@exec $(IN_VENV) scripts/train.py $(ARGS)

.PHONY: bundle
bundle: $(VENV)/.train ## train, calibrate and export the bundled model; repeat it to resume
	@exec $(IN_VENV) scripts/bundle.py $(ARGS)

.PHONY: format
format: $(VENV)/.dev ## put the code into its form
	$(IN_VENV) -m ruff check --fix
	$(IN_VENV) -m ruff format

# Pins stay as they are while they fit pyproject.toml; `make lock UPGRADE=1` takes the newest. All
# files share the versions of the largest set, so that they can be installed over each other.
COMPILE = $(IN_VENV) -m uv pip compile --quiet --universal --python-version 3.11 \
    --fork-strategy fewest --no-annotate --custom-compile-command "make lock"

.PHONY: lock
lock: $(VENV)/.dev ## compile requirements*.txt from pyproject.toml (UPGRADE=1: to the newest versions)
	$(COMPILE) pyproject.toml --extra dev $(if $(UPGRADE),--upgrade) -o requirements-dev.txt
	$(COMPILE) pyproject.toml --extra train --upgrade -c requirements-dev.txt -o requirements-train.txt
	$(COMPILE) pyproject.toml --extra cuda --upgrade -c requirements-dev.txt -o requirements-cuda.txt
	$(COMPILE) pyproject.toml --upgrade -c requirements-dev.txt -o requirements.txt

# requirements-dev.txt contains the pins of every other set. --strict, because pip-audit otherwise
# succeeds without having checked anything if it finds no vulnerability data.
.PHONY: audit
audit: $(VENV)/.dev ## check the pinned versions for known vulnerabilities (needs the network)
	@$(IN_VENV) -m uv tool run --from 'pip-audit>=2.10,<3' pip-audit --strict --no-deps --disable-pip \
	    --progress-spinner off --requirement requirements-dev.txt \
	|| { echo "make audit failed. Vulnerable packages: raise their floor in pyproject.toml, then run \`make lock UPGRADE=1\`. Packages not found, or no connection: run it where the vulnerability data of PyPI can be reached." >&2; exit 1; }

.PHONY: clean
clean: ## remove .venv and all caches; data, runs and checkpoints stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find app model scripts tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.serve: requirements.txt pyproject.toml $(BROKEN)
	@$(install)

$(VENV)/.cuda: requirements-cuda.txt pyproject.toml $(BROKEN)
	@$(install)

$(VENV)/.train: requirements-train.txt pyproject.toml $(BROKEN)
	@$(install)

$(VENV)/.dev: requirements-dev.txt pyproject.toml $(BROKEN)
	@$(install)

.PHONY: broken
broken: ;
