"""The service in a gunicorn process with the project's configuration, on a free port."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

TIMEOUT_SECONDS = 90
# Below the ports that systems give to outgoing connections.
_PORTS = range(20_000, 32_000)
# Processes with the same seed would choose the same ports.
_RANDOM = random.SystemRandom()


@dataclass(frozen=True)
class Server:
    """A running gunicorn.

    Attributes:
        process: The master process.
        port: Port on the loopback interface.
        folder: Folder of the files `out` and `err` with its output.
    """

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "out").read_text().splitlines()]

    @property
    def error_log(self) -> str:
        return (self.folder / "err").read_text()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            return read_json(connection.getresponse())
        finally:
            connection.close()

    def post(self, photo: bytes) -> tuple[int, Any]:
        """Send a photo as the body."""
        return self.request("POST", "/predict", photo, {"Content-Type": "image/*"})

    def is_ready(self, timeout: float = TIMEOUT_SECONDS) -> bool:
        with suppress(OSError):
            return self.request("GET", "/readyz", timeout=timeout)[0] == 200
        return False


def read_json(response: HTTPResponse) -> tuple[int, Any]:
    return response.status, json.loads(response.read())


def begin_upload(port: int, length: int) -> socket.socket:
    """Begin to send a photo of `length` bytes; return once the service has accepted the request."""
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
    connection.sendall(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length
    )
    assert connection.recv(100).startswith(b"HTTP/1.1 100")
    return connection


def read_response(connection: socket.socket) -> tuple[int, Any]:
    """Read a response with a JSON body from a socket."""
    response = HTTPResponse(connection)
    response.begin()
    return read_json(response)


def environment(folder: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PETALSCOPE_")}
    # To choose a device, the service would import PyTorch for seconds.
    chosen = {"PETALSCOPE_DEVICE": "cpu", **settings}
    # The service must accept the variable of the scripts.
    return {**kept, **chosen, "PETALSCOPE_DATA": "/data", "HOME": str(folder)}


def free_port() -> int:
    """Return a free port that no outgoing connection takes before its use."""
    while True:
        port = _PORTS[_RANDOM.randrange(len(_PORTS))]
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def until(condition: Any, timeout: float = TIMEOUT_SECONDS) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


@contextmanager
def serving(
    folder: Path,
    *arguments: str,
    open_files: str = "",
    **settings: str,
) -> Iterator[Server]:
    """Run gunicorn with the project's own configuration until the block ends.

    Args:
        folder: Folder for the files `out` and `err`.
        arguments: Command line arguments of gunicorn.
        open_files: Limit of open files, or its "soft:hard" limits. Empty for the inherited ones.
        settings: Environment variables.
    """
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", *arguments]
    if open_files:
        command = ["prlimit", f"--nofile={open_files}", *command]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(folder, PETALSCOPE_PORT=str(port), **settings),
            stdout=out,
            stderr=err,
        )
        server = Server(process, port, folder)
        try:
            until(lambda: server.is_ready() or process.poll() is not None)
            assert process.poll() is None, server.error_log
            yield server
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT_SECONDS)
            finally:
                process.kill()
