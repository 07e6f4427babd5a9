"""Log output whose reader has stalled or closed the pipe."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.app.conftest import encoded
from tests.serving import TIMEOUT_SECONDS, Server, begin_upload, read_response, serving, until

PHOTO: Final = encoded()
_PIPE_BYTES: Final = 4096
# The log may use 2 s of them.
_MAX_STOP_SECONDS: Final = 6.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs F_SETPIPE_SZ")


@contextmanager
def read_end(fifo: Path) -> Iterator[int]:
    """Create a FIFO that holds few lines, and open its end for reading."""
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        yield end
    finally:
        with suppress(OSError):
            os.close(end)


def fill_log(server: Server) -> None:
    """Make gunicorn and the app write more lines than the pipe holds."""
    for _ in range(60):
        assert server.request("GET", "/labels")[0] == 200
        with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS) as client:
            client.sendall(b"GARBAGE\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400")


def test_a_stalled_output_does_not_delay_requests_or_the_shutdown(
    tmp_path: Path, tiny_onnx: Path
) -> None:
    settings = {"PETALSCOPE_CHECKPOINT": str(tiny_onnx)}
    with (
        read_end(tmp_path / "out"),
        read_end(tmp_path / "err"),
        serving(tmp_path, **settings) as server,
    ):
        fill_log(server)
        with begin_upload(server.port, len(PHOTO)) as client:
            stopping = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not server.is_ready(timeout=0.5))
            client.sendall(PHOTO)
            assert read_response(client)[0] == 200
        assert server.process.wait(TIMEOUT_SECONDS) == 0
        assert time.monotonic() - stopping < _MAX_STOP_SECONDS


def test_a_closed_output_prints_no_traceback(tmp_path: Path, tiny_onnx: Path) -> None:
    settings = {"PETALSCOPE_CHECKPOINT": str(tiny_onnx)}
    with read_end(tmp_path / "out") as end, serving(tmp_path, **settings) as server:
        os.close(end)
        fill_log(server)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(TIMEOUT_SECONDS) == 0
        assert "Traceback" not in server.error_log
