"""Clients that send next to nothing, and how many of them the service bears by itself.

gunicorn gives a connection a thread as soon as its first byte is there, and gets it back when the
request is read. A proxy that reads requests whole before it passes them on is what keeps slow
senders in any number from taking all threads; what is tested here is what holds without one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Final

import pytest

from tests.adversarial.conftest import SETTINGS
from tests.adversarial.kinds import post
from tests.adversarial.service import HostileService
from tests.serving import serving

THREADS: Final = 32
PLACES: Final = 24
# gunicorn takes the thread back from a connection that sends nothing at all for this long.
_SECONDS_WITHOUT_A_BYTE: Final = 5
_HEAD: Final = post(b"", length=100_000)[:-2]
_BODY: Final = post(b"", length=100_000)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileService]:
    settings = {"PETALSCOPE_THREADS": str(THREADS), "PETALSCOPE_MAX_IN_FLIGHT": str(PLACES)}
    with serving(tmp_path_factory.mktemp("attacked"), **SETTINGS, **settings) as server:
        yield HostileService(server)


@contextmanager
def slow_senders(port: int, number: int, first: bytes) -> Iterator[None]:
    """Hold connections open that send `first`, and then a byte every second."""
    left = Event()
    with ExitStack() as stack:
        senders = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(number)
        ]

        def drip() -> None:
            while not left.wait(1):
                for sender in senders:
                    sender.sendall(b"x")

        for sender in senders:
            sender.sendall(first)
        thread = Thread(target=drip)
        thread.start()
        try:
            # Until a byte has dripped.
            time.sleep(1.2)
            yield
        finally:
            left.set()
            thread.join()


def test_slow_heads_hold_a_thread_each_and_others_are_answered(attacked: HostileService) -> None:
    with slow_senders(attacked.server.port, THREADS - 1, _HEAD):
        attacked.assert_unharmed()
        assert attacked.server.is_ready()
    attacked.assert_unharmed()


def test_slow_bodies_below_the_number_of_places_let_photos_through(
    attacked: HostileService,
) -> None:
    with slow_senders(attacked.server.port, PLACES - 1, _BODY):
        attacked.assert_unharmed()


def test_slow_bodies_in_every_place_leave_threads_to_say_so(attacked: HostileService) -> None:
    with slow_senders(attacked.server.port, PLACES, _BODY):
        started = time.monotonic()
        status, problem = attacked.server.post(b"a photo")
        assert (status, problem["title"]) == (429, "Too Many Requests")
        assert attacked.server.is_ready()
        assert time.monotonic() - started < 1
    attacked.assert_unharmed()


def test_silent_connections_delay_others_by_seconds_at_most(attacked: HostileService) -> None:
    with ExitStack() as stack:
        for _ in range(THREADS):
            stack.enter_context(socket.create_connection(("127.0.0.1", attacked.server.port)))
        started = time.monotonic()
        attacked.assert_unharmed()
        seconds = time.monotonic() - started
        print(f"{THREADS} silent connections kept a photo waiting for {seconds:.1f} s")
        assert seconds < _SECONDS_WITHOUT_A_BYTE + 3


@pytest.mark.parametrize("first", [_HEAD, _BODY], ids=["heads", "bodies"])
def test_200_slow_senders_leave_nothing_behind(attacked: HostileService, first: bytes) -> None:
    with slow_senders(attacked.server.port, 200, first):
        pass
    started = time.monotonic()
    attacked.assert_unharmed()
    assert time.monotonic() - started < 3
    assert "Traceback" not in attacked.server.complaints
