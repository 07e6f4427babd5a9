"""Shutdown under load and replacement of a killed worker, seen by clients."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, IncompleteRead
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Final

from tests.adversarial.attacked_service import GOOD_PHOTO, worker_of
from tests.adversarial.conftest import SETTINGS
from tests.serving import (
    TIMEOUT_SECONDS,
    Server,
    begin_upload,
    read_json,
    read_response,
    serving,
    until,
)

REQUESTS: Final = 500
SENDERS: Final = 8
_STOP_AFTER: Final = 60

CLASSIFIED = "classified"
OVERLOADED = "overloaded: 429 or 503"
REFUSED = "refused"  # no connection
UNREAD = "unread"  # closed before the first byte of a response
CUT = "cut"


class Load:
    """Requests from several threads, with the outcome of each by request ID."""

    def __init__(self, port: int) -> None:
        self.outcomes: dict[str, str] = {}
        self._port = port
        self._numbers = count()
        self._threads = [Thread(target=self._send, args=(n % 2 == 0,)) for n in range(SENDERS)]

    @property
    def counted(self) -> Counter[str]:
        return Counter(self.outcomes.values())

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        yield
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)
            assert not thread.is_alive()

    def _send(self, keep_alive: bool) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        while (number := next(self._numbers)) < REQUESTS:
            name = f"request-{number}"
            self.outcomes[name] = self._outcome(connection, name)
            if not keep_alive or self.outcomes[name] != CLASSIFIED:
                connection.close()

    def _outcome(self, connection: HTTPConnection, name: str) -> str:
        headers = {"Content-Type": "image/jpeg", "X-Request-ID": name}
        try:
            connection.request("POST", "/predict", GOOD_PHOTO, headers)
            response = connection.getresponse()
        except ConnectionRefusedError:
            return REFUSED
        except (ConnectionError, HTTPException):
            return UNREAD
        try:
            status, body = read_json(response)
        except (ConnectionError, IncompleteRead, ValueError):
            return CUT
        if status == 200:
            return CLASSIFIED if len(body["predictions"]) == 5 else CUT
        return OVERLOADED if status in (429, 503) else f"status {status}"


def test_a_graceful_shutdown_loses_and_truncates_no_request(tmp_path: Path) -> None:
    with serving(tmp_path, **SETTINGS) as server:
        load = Load(server.port)
        with load.running():
            until(lambda: len(load.outcomes) >= _STOP_AFTER)
            signalled = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(TIMEOUT_SECONDS) == 0
            stopped = time.monotonic() - signalled
        print(f"{dict(load.counted)}; stopped in {stopped:.1f} s")
        assert len(load.outcomes) == REQUESTS
        assert set(load.counted) <= {CLASSIFIED, OVERLOADED, REFUSED, UNREAD}
        assert load.counted[CLASSIFIED] >= _STOP_AFTER
        # Every logged request received a complete response.
        logged = [line["id"] for line in server.log if line.get("path") == "/predict"]
        assert Counter(logged).most_common(1)[0][1] == 1
        received = {
            name for name, outcome in load.outcomes.items() if outcome in (CLASSIFIED, OVERLOADED)
        }
        assert set(logged) == received
        # Connections in the listen backlog, at most one per sender, are never read.
        assert load.counted[UNREAD] <= SENDERS
        assert "Traceback" not in server.error_log


def test_uploads_at_a_shutdown_finish_in_time_or_get_503(tmp_path: Path) -> None:
    grace = 4.0
    settings = {**SETTINGS, "PETALSCOPE_SHUTDOWN_SECONDS": f"{grace:g}"}
    with (
        serving(tmp_path, **settings) as server,
        closing(begin_upload(server.port, len(GOOD_PHOTO))) as slow,
        closing(begin_upload(server.port, 1_000_000)) as endless,
    ):
        signalled = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not server.is_ready(timeout=0.5))
        for at in range(0, len(GOOD_PHOTO), len(GOOD_PHOTO) // 10 + 1):
            slow.sendall(GOOD_PHOTO[at : at + len(GOOD_PHOTO) // 10 + 1])
            endless.sendall(GOOD_PHOTO[:1000])
            time.sleep(grace / 40)
        assert read_response(slow)[0] == 200
        status, problem = read_response(endless)
        assert (status, problem["code"]) == (503, "shutting_down")
        assert time.monotonic() - signalled < grace
        assert server.process.wait(TIMEOUT_SECONDS) == 0
        assert time.monotonic() - signalled < grace + 2
        assert "Traceback" not in server.error_log


def seconds_until_replaced(server: Server, old: int) -> float:
    killed = time.monotonic()
    os.kill(old, signal.SIGKILL)
    until(lambda: worker_of(server) not in (0, old))
    until(lambda: server.is_ready(timeout=1))
    return time.monotonic() - killed


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, **SETTINGS) as server:
        expected = server.post(GOOD_PHOTO)[1]["predictions"]
        for _ in range(2):
            seconds = seconds_until_replaced(server, worker_of(server))
            print(f"ready again {seconds:.1f} s after its worker was killed")
            assert seconds < 30
            assert server.post(GOOD_PHOTO)[1]["predictions"] == expected
        assert "Traceback" not in server.error_log
