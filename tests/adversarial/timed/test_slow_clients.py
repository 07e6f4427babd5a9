"""Clients that send or read slowly; more of them than the service has threads."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread
from typing import Final

import pytest

from tests.adversarial.attacked_service import AttackedService, memory_of
from tests.adversarial.cases import post
from tests.adversarial.conftest import SETTINGS
from tests.adversarial.http_exchange import parsed
from tests.serving import serving

THREADS: Final = 32
MIB: Final = 1024 * 1024
_MAX_BODY_MIB: Final = 4
# The worker holds at most eight bodies of maximum size.
_MAX_HELD_MIB: Final = 8 * _MAX_BODY_MIB
# An idle machine needs 0.05 s; gunicorn's own thread worker needs 20 s.
_MAX_SECONDS: Final = 2.0
_HEADERS: Final = post(b"", length=100_000)[:-2]
_BODY: Final = post(b"", length=100_000)
_CHUNKS: Final = _BODY.replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked")
_UNREAD: Final = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1000


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedService]:
    settings = {
        "PETALSCOPE_THREADS": str(THREADS),
        "PETALSCOPE_MAX_BODY_MIB": str(_MAX_BODY_MIB),
    }
    with serving(tmp_path_factory.mktemp("attacked"), **SETTINGS, **settings) as server:
        yield AttackedService(server)


@contextmanager
def slow_clients(port: int, number: int, first: bytes, then: bytes) -> Iterator[None]:
    """Hold connections open that send `first`, then `then` every second, and read nothing."""
    stop = Event()
    with ExitStack() as stack:
        clients = []
        for _ in range(number):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(first)
            clients.append(client)

        def drip() -> None:
            while then and not stop.wait(1):
                for client in clients:
                    with suppress(OSError):
                        client.sendall(then)

        thread = Thread(target=drip)
        thread.start()
        try:
            time.sleep(1.2)
            yield
        finally:
            stop.set()
            thread.join()


def slowest_health_check(attacked: AttackedService, seconds: float) -> float:
    slowest, end = 0.0, time.monotonic() + seconds
    while (started := time.monotonic()) < end:
        assert attacked.server.request("GET", "/healthz")[0] == 200
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.02)
    return slowest


@pytest.mark.parametrize(
    ("number", "first", "then"),
    [
        pytest.param(200, _HEADERS, b"x", id="headers"),
        pytest.param(200, _BODY, b"x", id="bodies"),
        pytest.param(200, _CHUNKS, b"1\r\nx\r\n", id="chunks"),
        # Each gets about 60 responses before the kernel's buffer is full.
        pytest.param(50, _UNREAD, b"", id="readers"),
    ],
)
def test_slow_clients_delay_no_other(
    attacked: AttackedService, number: int, first: bytes, then: bytes
) -> None:
    with slow_clients(attacked.server.port, number, first, then):
        slowest = slowest_health_check(attacked, 1)
        print(f"{number} slow clients: the slowest health check took {slowest:.2f} s")
        assert slowest < _MAX_SECONDS
        attacked.assert_unharmed()
    assert "Traceback" not in attacked.server.error_log


def test_a_photo_is_classified_while_others_send_their_bodies_slowly(
    attacked: AttackedService,
) -> None:
    port = attacked.server.port
    # Of each kind more clients than slots and threads.
    with (
        slow_clients(port, 100, _BODY, b"x"),
        slow_clients(port, 100, _CHUNKS, b"1\r\nx\r\n"),
    ):
        # Past the time at which the service refuses all of them at once.
        end = time.monotonic() + 13
        while time.monotonic() < end:
            attacked.assert_unharmed()
            assert attacked.server.is_ready(timeout=_MAX_SECONDS)


def test_silent_connections_delay_no_other(attacked: AttackedService) -> None:
    with slow_clients(attacked.server.port, 200, b"", b""):
        assert slowest_health_check(attacked, 1) < _MAX_SECONDS
        attacked.assert_unharmed()


def test_a_body_that_arrives_too_slowly_is_refused(attacked: AttackedService) -> None:
    received, started = b"", time.monotonic()
    with socket.create_connection(("127.0.0.1", attacked.server.port), 1) as client:
        client.sendall(_BODY)
        while not received and time.monotonic() - started < 60:
            with suppress(TimeoutError):
                received = client.recv(MIB)
            with suppress(OSError):
                client.sendall(b"x")
        client.settimeout(5)
        while more := client.recv(MIB):
            received += more
    reply = parsed(received)
    assert (reply.status, reply.json["code"]) == (400, "incomplete_body")
    assert 9 < time.monotonic() - started < 20


def test_tiny_chunks_cost_little(attacked: AttackedService) -> None:
    started = time.monotonic()
    reply = attacked.send(_CHUNKS + b"1\r\nx\r\n" * (2 * MIB))
    assert (reply.status, reply.json["code"]) == (400, "incomplete_body")
    assert time.monotonic() - started < _MAX_SECONDS
    attacked.assert_unharmed()


def test_unfinished_bodies_hold_a_bounded_amount_of_memory(attacked: AttackedService) -> None:
    before = memory_of(attacked.worker)
    body = bytes(_MAX_BODY_MIB * MIB - 1)
    first = post(b"", length=len(body) + 1) + body
    with slow_clients(attacked.server.port, 40, first, b""):
        attacked.assert_unharmed()
        assert memory_of(attacked.worker) - before < 2 * _MAX_HELD_MIB
    attacked.assert_unharmed()
