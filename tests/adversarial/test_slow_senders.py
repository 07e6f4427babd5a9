"""Slow senders, up to the number the service withstands without a buffering proxy.

gunicorn assigns a thread to a connection at its first byte, until the request is read.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Final

import pytest

from tests.adversarial.attacked_service import AttackedService
from tests.adversarial.cases import post
from tests.adversarial.conftest import SETTINGS
from tests.serving import serving

THREADS: Final = 32
IN_FLIGHT: Final = 24
# gunicorn takes the thread away from a connection that is silent for this long.
_MAX_SILENCE_SECONDS: Final = 5
_HEADERS: Final = post(b"", length=100_000)[:-2]
_BODY: Final = post(b"", length=100_000)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedService]:
    settings = {"PETALSCOPE_THREADS": str(THREADS), "PETALSCOPE_MAX_IN_FLIGHT": str(IN_FLIGHT)}
    with serving(tmp_path_factory.mktemp("attacked"), **SETTINGS, **settings) as server:
        yield AttackedService(server)


@contextmanager
def slow_senders(port: int, number: int, first: bytes) -> Iterator[None]:
    """Hold connections open that send `first`, then one byte per second."""
    stop = Event()
    with ExitStack() as stack:
        senders = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(number)
        ]

        def drip() -> None:
            while not stop.wait(1):
                for sender in senders:
                    sender.sendall(b"x")

        for sender in senders:
            sender.sendall(first)
        thread = Thread(target=drip)
        thread.start()
        try:
            # Wait for the first slow byte.
            time.sleep(1.2)
            yield
        finally:
            stop.set()
            thread.join()


def test_slow_headers_in_all_threads_but_one_leave_the_service_usable(
    attacked: AttackedService,
) -> None:
    with slow_senders(attacked.server.port, THREADS - 1, _HEADERS):
        attacked.assert_unharmed()
        assert attacked.server.is_ready()
    attacked.assert_unharmed()


def test_slow_bodies_in_all_slots_but_one_leave_the_service_usable(
    attacked: AttackedService,
) -> None:
    with slow_senders(attacked.server.port, IN_FLIGHT - 1, _BODY):
        attacked.assert_unharmed()


def test_slow_bodies_in_every_slot_are_refused_quickly(attacked: AttackedService) -> None:
    with slow_senders(attacked.server.port, IN_FLIGHT, _BODY):
        started = time.monotonic()
        status, problem = attacked.server.post(b"a photo")
        assert status == 429
        assert problem["code"]
        assert attacked.server.is_ready()
        assert time.monotonic() - started < 1
    attacked.assert_unharmed()


def test_silent_connections_delay_others_by_a_bounded_time(attacked: AttackedService) -> None:
    with ExitStack() as stack:
        for _ in range(THREADS):
            stack.enter_context(socket.create_connection(("127.0.0.1", attacked.server.port)))
        started = time.monotonic()
        attacked.assert_unharmed()
        seconds = time.monotonic() - started
        print(f"{THREADS} silent connections delayed a photo by {seconds:.1f} s")
        assert seconds < _MAX_SILENCE_SECONDS + 3


@pytest.mark.parametrize("first", [_HEADERS, _BODY], ids=["headers", "bodies"])
def test_the_service_recovers_from_200_slow_senders(
    attacked: AttackedService, first: bytes
) -> None:
    with slow_senders(attacked.server.port, 200, first):
        pass
    started = time.monotonic()
    attacked.assert_unharmed()
    assert time.monotonic() - started < 3
    assert "Traceback" not in attacked.server.complaints
