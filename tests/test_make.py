"""Commands that the Makefile and .ci/run execute.

Fake commands (python3, apt-get, ...) come first on the PATH and append their arguments to the file
`calls`. With an empty `system`, they are the only commands on the PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAKE = shutil.which("make") or "make"
BASH = shutil.which("bash") or "bash"
SYSTEM = "/usr/bin:/bin"
# A fake Python of a given version. `-m venv` creates a folder with a copy of the script. Arguments
# that start with the content of the file `fail` fail; the file `slow` holds the seconds of a venv.
PYTHON = """#!/bin/sh
case "$*" in -c*) ;; *) echo "${{0##*/}} $*" >> calls ;; esac
case "$*" in
    *version_info[[]:2]*) echo {version} ;;
    *"import ensurepip"*) exit {without_venv} ;;
    *fcntl.flock*) exec {python} "$@" ;;
    "-m venv"*) mkdir -p .venv/bin; sleep "$(cat slow || echo 0)"; cp "$0" .venv/bin/python ;;
    "$(cat fail || echo never)"*) exit 1 ;;
esac 2>/dev/null
"""
VENV = "-m venv --clear .venv"
PIP = "python -m pip install"
SERVING = [f"{PIP} --requirement requirements.txt", f"{PIP} --no-deps --editable ."]
GUNICORN = "python -m gunicorn --config gunicorn.conf.py"


class Checkout:
    """A copy of the files that the Makefile reads, with a folder `bin` of fake commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path in (ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("requirements*.txt")):
            shutil.copy2(path, folder)
        (folder / "bin").mkdir()

    def fake(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(script)
        path.chmod(0o755)

    def fake_python(self, name: str, version: str, *, without_venv: bool = False) -> None:
        script = PYTHON.format(
            version=version, without_venv=int(without_venv), python=sys.executable
        )
        self.fake(name, script)

    def make(self, *arguments: str, system: str = SYSTEM) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MAKE, *arguments],
            cwd=self.folder,
            env={"PATH": f"{self.folder / 'bin'}:{system}"},
            capture_output=True,
            text=True,
        )

    def calls(self) -> list[str]:
        """Return the calls since the previous `calls`."""
        calls = self.folder / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_make_without_arguments_lists_every_command(checkout: Checkout) -> None:
    commands = re.findall(r"^\.PHONY: (\w+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = re.findall(r"^make (\w+) ", checkout.make().stdout, re.MULTILINE)
    assert set(listed) == set(commands) - {"broken"}


def test_serve_creates_a_virtual_environment_and_installs(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    assert checkout.make("serve").returncode == 0
    assert checkout.calls() == [f"python3 {VENV}", *SERVING, GUNICORN]


def test_serve_installs_again_only_when_the_requirements_changed(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.13")
    checkout.make("serve")
    checkout.calls()
    assert checkout.make("serve").returncode == 0
    assert checkout.calls() == [GUNICORN]
    later = (checkout.folder / ".venv" / ".serve-cpu").stat().st_mtime + 1
    os.utime(checkout.folder / "requirements.txt", (later, later))
    assert checkout.make("serve").returncode == 0
    assert checkout.calls() == [*SERVING, GUNICORN]


def test_a_failed_installation_is_repeated(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    (checkout.folder / "fail").write_text("-m pip")
    assert checkout.make("serve").returncode != 0
    assert checkout.calls() == [f"python3 {VENV}", SERVING[0]]
    (checkout.folder / "fail").unlink()
    assert checkout.make("serve").returncode == 0
    assert checkout.calls() == [*SERVING, GUNICORN]


@pytest.mark.slow
def test_a_virtual_environment_without_its_python_is_replaced(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    checkout.make("serve")
    checkout.calls()
    (checkout.folder / ".venv" / "bin" / "python").unlink()
    assert checkout.make("serve").returncode == 0
    assert checkout.calls() == [f"python3 {VENV}", *SERVING, GUNICORN]


@pytest.mark.slow
def test_concurrent_makes_create_one_virtual_environment(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    (checkout.folder / "slow").write_text("0.5")
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(checkout.make, ("serve", "test")))
    assert [result.returncode for result in results] == [0, 0]
    assert checkout.calls().count(f"python3 {VENV}") == 1


def test_an_old_python_is_an_error_with_a_remedy(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.9")
    result = checkout.make("serve", system="")
    assert result.returncode != 0
    assert "3.9" in result.stderr
    assert "make serve PYTHON=" in result.stderr
    assert not (checkout.folder / ".venv").exists()


def test_an_old_python3_does_not_hide_a_newer_one(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.9")
    checkout.fake_python("python3.12", "3.12")
    assert checkout.make("serve").returncode == 0
    assert checkout.calls()[0] == f"python3.12 {VENV}"


def test_a_missing_python_is_an_error_with_a_remedy(checkout: Checkout) -> None:
    result = checkout.make("test", system="")
    assert result.returncode != 0
    assert "apt install python3 python3-venv" in result.stderr


def test_a_python_without_venv_names_the_package_to_install(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.12", without_venv=True)
    result = checkout.make("train", system="")
    assert result.returncode != 0
    assert "apt install python3.12-venv" in result.stderr


def test_a_given_python_is_used(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    checkout.fake_python("my-python", "3.13")
    assert checkout.make("serve", "PYTHON=my-python").returncode == 0
    assert checkout.calls()[0] == f"my-python {VENV}"


@pytest.mark.slow
def test_pytorch_is_installed_for_a_gpu_or_on_request(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    with_torch = f"{PIP} --requirement requirements-cuda.txt"
    checkout.make("serve", "DEVICE=cuda")
    assert with_torch in checkout.calls()
    checkout.fake("nvidia-smi", "#!/bin/sh\nexit 9\n")  # a driver without a device
    checkout.make("clean", "serve")
    assert with_torch not in checkout.calls()
    checkout.fake("nvidia-smi", "#!/bin/sh\n")
    checkout.make("serve", "DEVICE=cpu")
    assert with_torch not in checkout.calls()
    checkout.make("serve")
    assert with_torch in checkout.calls()


def test_train_passes_its_arguments_on(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    assert checkout.make("train", "DEVICE=cuda", "ARGS=--epochs 3").returncode == 0
    calls = checkout.calls()
    assert f"{PIP} --requirement requirements-train.txt" in calls
    assert calls[-1] == "python scripts/train.py --epochs 3"


def test_pictures_need_no_pytorch(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    assert checkout.make("pictures", "ARGS=--output other").returncode == 0
    calls = checkout.calls()
    assert f"{PIP} --requirement requirements-pictures.txt" in calls
    assert calls[-1] == "python scripts/make_pictures.py --output other"
    pins = (checkout.folder / "requirements-pictures.txt").read_text()
    assert "torch" not in pins


def test_a_cpu_gets_pytorch_without_cuda(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    assert checkout.make("train", "DEVICE=cpu").returncode == 0
    _, torch, others, *_ = checkout.calls()
    pins = (checkout.folder / "requirements-train.txt").read_text().splitlines()
    expected = [f"{pin}+cpu" for pin in pins if pin.startswith(("torch==", "torchvision=="))]
    assert len(expected) == 2
    assert torch.endswith(" ".join(["--index-url https://download.pytorch.org/whl/cpu", *expected]))
    reduced = others.removeprefix(f"{PIP} --requirement ")
    left = (checkout.folder / reduced).read_text().splitlines()
    assert len(left) < len(pins)
    assert not [pin for pin in left if "nvidia" in pin or "cuda" in pin]
    assert set(expected) <= {f"{pin}+cpu" for pin in left}


def test_without_its_index_a_cpu_gets_pytorch_with_cuda(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    (checkout.folder / "fail").write_text("-m pip install --retries")
    result = checkout.make("train", "DEVICE=cpu", "TORCH_INDEX=http://mirror")
    assert result.returncode == 0
    assert f"{PIP} --requirement requirements-train.txt" in checkout.calls()
    assert "http://mirror" in result.stderr


@pytest.mark.slow
def test_another_device_replaces_pytorch(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    checkout.make("train", "DEVICE=cpu")
    checkout.calls()
    assert checkout.make("train", "DEVICE=cuda").returncode == 0
    calls = checkout.calls()
    assert calls[0] == "python -m pip uninstall --quiet --yes torch torchvision"
    assert calls[1] == f"{PIP} --requirement requirements-train.txt"
    assert checkout.make("train", "DEVICE=cpu").returncode == 0
    assert "+cpu" in checkout.calls()[0]
    assert checkout.make("train", "DEVICE=cuda").returncode == 0
    assert "uninstall" in checkout.calls()[0]


@pytest.mark.parametrize("target", ["check", "test"])
def test_the_first_failing_check_ends_the_target(checkout: Checkout, target: str) -> None:
    checkout.fake_python("python3", "3.11")
    (checkout.folder / "fail").write_text("-m mypy")
    assert checkout.make(target).returncode != 0
    checks = ["-m ruff check", "-m ruff format --check", "-m mypy"]
    assert checkout.calls()[-3:] == [f"python {check}" for check in checks]


def test_check_runs_the_fast_tests_and_test_runs_all(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    runs = {}
    for target in ("check", "test"):
        assert checkout.make(target).returncode == 0
        runs[target] = [call for call in checkout.calls() if "pytest" in call]
    (fast,) = runs["check"]
    assert "not slow" in fast
    first, *others = runs["test"]
    ignored = re.findall(r"--ignore=(\S+)", first)
    assert ignored == [word for word in " ".join(others).split() if word.startswith("tests/")]
    assert all((ROOT / path).exists() for path in ignored)


def photos(clone: Path) -> Path:
    """Return the folder where .ci/run expects the photos."""
    relative = re.search(r"cd (\.\./\S+) && pwd", (ROOT / ".ci" / "run").read_text())
    assert relative
    return clone.parent / relative[1].removeprefix("../")


@pytest.fixture
def clone(tmp_path: Path) -> Checkout:
    """Create a clone with the photos beside it, on a machine with only coreutils."""
    (tmp_path / "clone" / ".ci").mkdir(parents=True)
    shutil.copy2(ROOT / ".ci" / "run", tmp_path / "clone" / ".ci")
    photos(tmp_path / "clone").mkdir(parents=True)
    clone = Checkout(tmp_path / "clone")
    for command in ("dirname", "env"):
        (clone.folder / "bin" / command).symlink_to(shutil.which(command) or command)
    clone.fake("sudo", '#!/bin/sh\nexec "$@"\n')
    clone.fake("apt-get", '#!/bin/sh\necho "apt-get $*" >> calls\n')
    clone.fake("make", '#!/bin/sh\necho "make $* $PETALSCOPE_DATA" >> calls\nexit 3\n')
    return clone


COMMANDS = (
    "chromium", "chromium-headless-shell", "debootstrap", "dockerd", "firefox-esr", "nginx",
    "pg_createcluster", "python3", "redis-server", "slurmctld", "wrk",
)  # fmt: skip


def run_ci(clone: Checkout) -> int:
    path = str(clone.folder / "bin")
    return subprocess.run(
        [BASH, ".ci/run"],
        cwd=clone.folder,
        env={"PATH": path, "CI": "true"},
        stdin=subprocess.DEVNULL,
    ).returncode


def test_ci_runs_make_test_with_the_photos_and_returns_its_exit_code(clone: Checkout) -> None:
    for command in COMMANDS:
        clone.fake(command, "#!/bin/sh\n")
    assert run_ci(clone) == 3
    assert clone.calls() == [f"make test {photos(clone.folder)}"]


def test_ci_installs_missing_packages(clone: Checkout) -> None:
    assert run_ci(clone) == 3
    update, install, make = clone.calls()
    assert update == "apt-get update"
    assert install.startswith("apt-get install --yes")
    assert install.endswith(
        "chromium fonts-liberation chromium-headless-shell firefox-esr redis-server postgresql "
        "nginx wrk docker.io debootstrap slurm-wlm python3 python3-venv"
    )
    assert make.startswith("make test ")


def test_audit_fails_with_a_remedy(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.11")
    assert checkout.make("audit").returncode == 0
    (checkout.folder / "fail").write_text("-m uv tool run")
    failed = checkout.make("audit")
    assert failed.returncode != 0
    assert "make lock" in failed.stderr
