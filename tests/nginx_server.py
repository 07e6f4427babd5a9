"""nginx on the loopback interface, for tests marked `nginx`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.serving import TIMEOUT_SECONDS, until

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class NginxServer:
    """A running nginx."""

    folder: Path
    process: subprocess.Popen[bytes]

    def reload(self, http: str) -> None:
        """Replace the content of the `http` block; wait until new workers use it."""
        before = self._workers()
        _write(self.folder, http)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self._workers() - before)

    def _workers(self) -> set[str]:
        pid = self.process.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@contextmanager
def running_nginx(folder: Path, http: str, port: int) -> Iterator[NginxServer]:
    """Run nginx until the block ends.

    Args:
        folder: Folder of its files.
        http: Content of the `http` block.
        port: A port of 127.0.0.1 on which it listens.
    """
    command = shutil.which("nginx")
    assert command is not None
    log = folder / "nginx.log"
    file = _write(folder, http)
    process = subprocess.Popen([command, "-p", str(folder), "-c", str(file), "-e", str(log)])
    try:
        until(lambda: _accepts_connections(port) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield NginxServer(folder, process)
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS)


def _write(folder: Path, http: str) -> Path:
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in _TEMPORARY)
    # Workers of a nginx that root starts would otherwise run as a user without access to `folder`.
    user = "user root root;\n" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(
        f"{user}daemon off;\npid {folder}/nginx.pid;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{http}}}\n"
    )
    return file


def _accepts_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
