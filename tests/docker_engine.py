"""A Docker engine and a base image, for tests marked `docker`.

The engine is the machine's if it runs, or else a dockerd of the tests' own, without a bridge. The
base image comes from the registry, or else from Debian's packages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.conftest import ROOT
from tests.serving import until

_START_SECONDS = 60
_PULL_SECONDS = 120
_DEBIAN = "bookworm"
_DEBIAN_BASE = "petalscope-test-base"
# The official image does not have these, either.
_UNUSED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt")


class EngineError(Exception):
    """An engine that does not start."""


@dataclass(frozen=True)
class Engine:
    """A running Docker engine.

    Attributes:
        variables: Environment variables of the client.
    """

    variables: Mapping[str, str]

    def run(
        self, *arguments: object, timeout: float = 600, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker` with arguments, by the classic builder where it builds."""
        done = subprocess.run(
            ["docker", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "DOCKER_BUILDKIT": "0", **self.variables},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what the engine knows of an image or a container."""
        (found,) = json.loads(self.run("inspect", name).stdout)
        assert isinstance(found, dict)
        return found

    def is_running(self) -> bool:
        return self.run("version", check=False).returncode == 0


def missing_engine() -> str | None:
    """Return what a machine lacks to run an engine, or None."""
    if sys.platform != "linux":
        return "needs Linux"
    if shutil.which("docker") and Engine({}).is_running():
        return None
    missing = [name for name in ("docker", "dockerd", "debootstrap") if not shutil.which(name)]
    if missing:
        return f"install {', '.join(missing)}"
    return None if os.geteuid() == 0 else "start Docker's engine, or run the tests as root"


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Yield the machine's engine, or a private one that runs until the block ends.

    Raises:
        EngineError: The private engine does not start.
    """
    if (machine := Engine({})).is_running():
        yield machine
        return
    folder = Path(tempfile.mkdtemp(prefix="docker-"))  # paths of sockets must be short
    address = f"unix://{folder}/socket"
    command = [
        "dockerd", "--host", address, "--data-root", f"{folder}/data",
        "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid",
        "--bridge", "none", "--iptables=false", "--ip6tables=false",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    engine = Engine({"DOCKER_HOST": address, "DOCKER_CONFIG": f"{folder}/client"})
    try:
        with suppress(AssertionError):  # of a time-out
            until(lambda: engine.is_running() or process.poll() is not None, _START_SECONDS)
        if not engine.is_running():
            raise EngineError(log.read_text()[-3000:])
        yield engine
    finally:
        process.terminate()
        try:
            process.wait(_START_SECONDS)
        finally:
            process.kill()
            # dockerd leaves the network namespace of the machine mounted.
            namespace = folder / "exec" / "netns" / "default"
            subprocess.run(["umount", str(namespace)], capture_output=True, check=False)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def base_image(engine: Engine) -> Iterator[str]:
    """Yield the name of a base image that can install packages until the block ends."""
    (name,) = re.findall(r"^ARG BASE=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    with suppress(subprocess.TimeoutExpired):
        if engine.run("pull", name, timeout=_PULL_SECONDS, check=False).returncode == 0:
            yield name
            return
    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "packages") as address:
        download(Path(folder) / "packages")
        import_debian(engine, Path(folder), address)
        yield _DEBIAN_BASE


def download(folder: Path) -> None:
    """Download the packages of the CPU images, as this machine's pip is set up to."""
    pins = (ROOT / "requirements-bulk.txt").read_text(encoding="utf-8")  # holds all of them
    # Debian's Python may need packages that this one does not.
    unconditional = re.sub(r" ; python_full_version .*", "", pins)
    (folder / "requirements.txt").write_text(unconditional, encoding="utf-8")
    pip("download", "--dest", folder, "--requirement", folder / "requirements.txt")


def pip(command: str, *arguments: object) -> None:
    """Run this machine's pip on exactly the packages named."""
    options = [sys.executable, "-m", "pip", command, "--quiet", "--no-deps"]
    subprocess.run([*options, *map(str, arguments)], check=True, capture_output=True)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of 127.0.0.1; yield its address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Write no access log."""

    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def import_debian(engine: Engine, folder: Path, packages: str) -> None:
    """Import an image with Debian's Python in the places of the official one.

    Args:
        engine: The engine.
        folder: Folder for the files.
        packages: Address of the packages that pip shall install.
    """
    root = folder / "root"
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    mirrors = (target for target in targets if target.rstrip("/").endswith("/debian"))
    mirror = next(mirrors, "http://deb.debian.org/debian")
    run = partial(subprocess.run, check=True, capture_output=True)
    bootstrap = ["debootstrap", "--variant=minbase", "--include=python3.11"]
    run([*bootstrap, _DEBIAN, str(root), mirror])
    run(["chroot", str(root), "python3.11", "-m", "venv", "--without-pip", "/usr/local"])
    (packages_folder,) = (root / "usr" / "local").glob("lib/python3.*/site-packages")
    pip("install", "--target", packages_folder, "pip", "setuptools")
    (root / "etc" / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {packages}\n")
    for unused in _UNUSED:
        shutil.rmtree(root / unused, ignore_errors=True)
    archive = folder / "root.tar"
    with tarfile.open(archive, "w") as files:
        files.add(root, ".")
    shutil.rmtree(root)
    engine.run("import", archive, _DEBIAN_BASE)
