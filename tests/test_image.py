"""Tests of the Dockerfile without a Docker engine.

The final stage is rebuilt from read-only mounts in a chroot: the copied files under /app, and this
virtual environment as /opt/venv. It runs with the image's variables, user and command, under the
limits of the documented `docker run`. RUN instructions are not tested.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

from tests.conftest import ROOT, flower_image
from tests.serving import free_port

pytestmark = pytest.mark.slow

BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS_TO_START = 120
MAX_THREADS = int(
    re.findall(r"--pids-limit (\d+)", (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8"))[
        0
    ]
)


@dataclass(frozen=True)
class Copy:
    """A COPY instruction: sources in the build context (or another stage), destination, flags."""

    sources: list[str]
    destination: str
    flags: list[str]

    @property
    def from_stage(self) -> bool:
        return any(flag.startswith("--from=") for flag in self.flags)


class Stage:
    """One stage of the Dockerfile, as its instructions (keyword, rest of the line)."""

    def __init__(self, instructions: list[tuple[str, str]]) -> None:
        self._instructions = instructions

    def all(self, keyword: str) -> list[str]:
        return [rest for name, rest in self._instructions if name == keyword]

    def one(self, keyword: str) -> str:
        (rest,) = self.all(keyword)
        return rest

    @property
    def copies(self) -> list[Copy]:
        copies = []
        for rest in self.all("COPY"):
            words = shlex.split(rest)
            flags = [word for word in words if word.startswith("--")]
            *sources, destination = words[len(flags) :]
            copies.append(Copy(sources, destination, flags))
        return copies

    @property
    def environment(self) -> dict[str, str]:
        pairs = (word.split("=", 1) for rest in self.all("ENV") for word in shlex.split(rest))
        return {name: value.replace("$PATH", BASE_PATH) for name, value in pairs}

    @property
    def command(self) -> list[str]:
        return [str(word) for word in json.loads(self.one("CMD"))]

    @property
    def health_check(self) -> list[str]:
        _, command = self.one("HEALTHCHECK").split(" CMD ", 1)
        return [str(word) for word in json.loads(command)]


def stages() -> list[Stage]:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    instructions: list[list[tuple[str, str]]] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip():
            keyword, rest = line.split(maxsplit=1)
            if keyword == "FROM":
                instructions.append([])
            if instructions:  # an ARG before the first FROM belongs to no stage
                instructions[-1].append((keyword, rest.strip()))
    return [Stage(stage) for stage in instructions]


def is_sent(path: PurePosixPath) -> bool:
    """Return True if the build context contains a path; .dockerignore's last match decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            above = [str(part) for part in (path, *path.parents)][:-1]
            if any(_matches(name, pattern.removeprefix("!")) for name in above):
                sent = pattern.startswith("!")
    return sent


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch(name.rsplit("/", 1)[-1], pattern.removeprefix("**/"))
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def sent_files(source: str) -> list[Path]:
    """Return the files of a COPY source that reach the builder, relative to the checkout."""
    path = ROOT / source
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    relative = [file.relative_to(ROOT) for file in files]
    return [file for file in relative if is_sent(PurePosixPath(file.as_posix()))]


def test_the_build_context_contains_every_copied_file() -> None:
    sources = [
        source
        for stage in stages()
        for copy in stage.copies
        if not copy.from_stage
        for source in copy.sources
    ]
    assert sources
    assert [source for source in sources if not sent_files(source)] == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "app/__pycache__/api.cpython-311.pyc",
        "checkpoints/.tf_efficientnet_lite2.safetensors.part",
        "data/train/1/image.jpg",
        "runs/1/checkpoint.safetensors",
        "tests/conftest.py",
    ],
)
def test_the_build_context_excludes_other_files(path: str) -> None:
    assert not is_sent(PurePosixPath(path))


def test_every_stage_has_the_base_image_of_the_build_argument() -> None:
    assert [stage.all("FROM")[0].split()[0] for stage in stages()] == ["${BASE}", "${BASE}"]


def test_the_image_listens_on_every_network_and_runs_as_a_numeric_user() -> None:
    image = stages()[-1]
    assert image.environment["PETALSCOPE_HOST"] == "0.0.0.0"
    assert image.one("EXPOSE") == image.environment["PETALSCOPE_PORT"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.one("USER"))


class Container:
    """The final stage as a container: a root folder, and commands that run inside it."""

    def __init__(self, root: Path, environment: dict[str, str], mounts: dict[Path, str]) -> None:
        image = stages()[-1]
        self._user = image.one("USER")
        self._folder = image.one("WORKDIR")
        self._environment = {**image.environment, **environment}
        self._root = root
        python = Path(sys.base_prefix)
        self._mounts = {
            Path("/usr"): "/usr",
            python: str(python),
            **{Path(sys.prefix): copy.destination for copy in image.copies if copy.from_stage},
            Path("/proc"): "/proc",
            Path("/dev"): "/dev",
            **mounts,
        }
        self._fill(image)

    def _fill(self, image: Stage) -> None:
        self._root.mkdir()
        for link in ("bin", "sbin", "lib", "lib64"):
            if (Path("/") / link).is_symlink():
                (self._root / link).symlink_to(f"usr/{link}")
        for copy in image.copies:
            for source in [] if copy.from_stage else copy.sources:
                target = self._root / f"{self._folder}/{copy.destination}".lstrip("/")
                for file in sent_files(source):
                    # A folder's content is copied, not the folder; a file keeps its name.
                    path = target / (file.relative_to(source) if file != Path(source) else file)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(ROOT / file, path)
        for mounted, inside in self._mounts.items():
            point = self._root / inside.lstrip("/")
            if mounted.is_dir():
                point.mkdir(parents=True, exist_ok=True)
            else:
                point.touch()
        for path in (self._root, *self._root.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755)

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs a command inside the container."""
        root = shlex.quote(str(self._root))
        script = ["set -e", f"mount -o bind,ro {root} {root}"]
        for source, inside in self._mounts.items():
            point = shlex.quote(f"{self._root}{inside}")
            script.append(f"mount -o bind,ro {shlex.quote(str(source))} {point}")
        # Docker's default size.
        script.append(f"mount -t tmpfs -o size=64m,mode=1777 shm {root}/dev/shm")
        user, group = self._user.split(":")
        # As `docker run --cap-drop ALL --security-opt no-new-privileges --pids-limit` would.
        limits = (
            f"setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs "
            f"--inh-caps=-all --bounding-set=-all prlimit --nproc={MAX_THREADS}"
        )
        script.append(f'exec chroot {root} {limits} "$@"')
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        unshare = ["unshare", "--mount", "sh", "-c", "\n".join(script), "sh"]
        return [*unshare, "env", "-i", f"--chdir={self._folder}", *variables, *command]

    @contextlib.contextmanager
    def started(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run the image's CMD; kill it if the test did not stop it."""
        with (
            log.open("wb") as output,
            subprocess.Popen(
                self.inside(stages()[-1].command), stdout=output, stderr=subprocess.STDOUT
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def is_healthy(self) -> bool:
        """Run the image's health check."""
        check = subprocess.run(self.inside(stages()[-1].health_check), capture_output=True)
        return check.returncode == 0


def predict(port: int) -> tuple[int, dict[str, list[dict[str, object]]]]:
    photo = io.BytesIO()
    flower_image().save(photo, "JPEG")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as service:
        service.request("POST", "/predict", photo.getvalue(), {"Content-Type": "image/jpeg"})
        response = service.getresponse()
        return response.status, json.loads(response.read())


def can_mount() -> bool:
    """Return True on Linux as root with the right to mount, which most containers lack."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="needs root on Linux, to mount the image's files")
@pytest.mark.parametrize("checkpoint", ["bundled", "mounted"])
def test_the_image_serves_under_the_documented_limits_until_sigterm(
    checkpoint: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    port = free_port()
    environment = {"PETALSCOPE_HOST": "127.0.0.1", "PETALSCOPE_PORT": str(port)}
    mounts = {}
    if checkpoint == "mounted":
        mounts[tiny_checkpoint] = "/checkpoint.safetensors"
        environment["PETALSCOPE_CHECKPOINT"] = "/checkpoint.safetensors"
    container = Container(tmp_path / "root", environment, mounts)
    log = tmp_path / "log"
    with container.started(log) as process:
        deadline = time.monotonic() + SECONDS_TO_START
        while not container.is_healthy():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        status, result = predict(port)
        assert status == 200, log.read_text()
        assert len(result["predictions"]) == 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS_TO_START) == 0, log.read_text()
