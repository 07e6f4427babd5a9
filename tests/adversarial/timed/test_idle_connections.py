"""Clients that keep a finished connection open, and more connections than file descriptors."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from tests.serving import TIMEOUT_SECONDS, Server, read_json, serving, until

_CONNECTIONS: Final = 15
# gunicorn's own thread worker takes 2 s per connection.
_MAX_SECONDS: Final = 1.0

_FINISHED: Final = {
    "connection_close": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "http_1_0": b"GET /healthz HTTP/1.0\r\nHost: x\r\n\r\n",
    "malformed": b"GARBAGE\r\n\r\n",
    "unfinished_body": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 100000\r\n\r\nabc",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path) -> Iterator[Server]:
    settings = {"PETALSCOPE_CHECKPOINT": str(tiny_onnx)}
    with serving(tmp_path_factory.mktemp("idle"), **settings) as server:
        yield server


@pytest.mark.parametrize("request_bytes", _FINISHED.values(), ids=_FINISHED)
def test_idle_finished_connections_delay_no_other(server: Server, request_bytes: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(_CONNECTIONS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(request_bytes)
        # A check that is delayed when the time is up is measured to its end.
        slowest, end = 0.0, time.monotonic() + 1.5
        while (started := time.monotonic()) < end:
            assert server.request("GET", "/healthz")[0] == 200
            slowest = max(slowest, time.monotonic() - started)
            time.sleep(0.02)
    assert slowest < _MAX_SECONDS
    assert "Traceback" not in server.error_log


def test_an_idle_finished_connection_is_closed_after_two_seconds(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(_FINISHED["connection_close"])
        while client.recv(4096):
            pass
        # The server closes its own end of the connection later: writing then fails.
        with pytest.raises(ConnectionError):
            until_refused(client)


def until_refused(client: socket.socket) -> None:
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        client.sendall(b"x")
        time.sleep(0.1)


def idle_connection(server: Server, stack: ExitStack) -> HTTPConnection:
    """Return a connection that has had one response and can be reused."""
    connection = stack.enter_context(
        closing(HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS))
    )
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    response.read()
    assert not response.will_close
    return connection


def test_an_idle_connection_can_be_reused_after_a_while(server: Server) -> None:
    with ExitStack() as stack:
        connection = idle_connection(server, stack)
        local = connection.sock.getsockname()
        time.sleep(7)
        connection.request("GET", "/healthz")
        assert read_json(connection.getresponse())[0] == 200
        assert connection.sock.getsockname() == local


def test_an_idle_connection_is_closed_after_the_time_of_the_setting(
    tmp_path: Path, tiny_onnx: Path
) -> None:
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PETALSCOPE_KEEP_ALIVE_SECONDS": "2",
    }
    with serving(tmp_path, **settings) as server, ExitStack() as stack:
        connection = idle_connection(server, stack)
        started = time.monotonic()
        assert connection.sock.recv(1) == b""
        assert 1.5 < time.monotonic() - started < 10


def test_idle_connections_make_room_for_new_ones(tmp_path: Path, tiny_onnx: Path) -> None:
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PETALSCOPE_THREADS": "4",
        "PETALSCOPE_MAX_IN_FLIGHT": "2",
    }
    most = 40
    with (
        serving(tmp_path, "--worker-connections", str(most), **settings) as server,
        ExitStack() as stack,
    ):
        # gunicorn keeps as many connections open as leave one for each thread.
        idle = [idle_connection(server, stack) for _ in range(most - 4)]
        for _ in range(8):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        for _ in range(3):
            started = time.monotonic()
            assert server.request("GET", "/healthz")[0] == 200
            assert time.monotonic() - started < _MAX_SECONDS
        assert idle[0].sock.recv(1) == b""
        idle[-1].request("GET", "/healthz")
        assert read_json(idle[-1].getresponse())[0] == 200
    assert "Traceback" not in server.error_log


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_running_out_of_descriptors_leaves_the_worker_alive(
    tmp_path: Path, tiny_onnx: Path
) -> None:
    settings = {"PETALSCOPE_CHECKPOINT": str(tiny_onnx)}
    with serving(tmp_path, open_files="40", **settings) as server:
        with ExitStack() as stack:
            for _ in range(45):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                client.sendall(b"GET /healthz HTTP/1.1\r\n")
            time.sleep(2)
        until(server.is_ready)
        assert server.request("GET", "/healthz")[0] == 200
        assert len(re.findall("Booting worker", server.error_log)) == 1


def test_the_descriptor_limit_is_raised_to_the_hard_limit(tmp_path: Path, tiny_onnx: Path) -> None:
    settings = {"PETALSCOPE_CHECKPOINT": str(tiny_onnx)}
    with serving(tmp_path, open_files="256:512", **settings) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        assert re.search(r"Max open files\s+512\s+512", limits)
