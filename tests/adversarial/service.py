"""A running service under attack, and how to tell that it is unharmed."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.adversarial.kinds import CLOSED, Kind, post
from tests.adversarial.sending import PATIENCE, Reply, exchange
from tests.app.conftest import encoded
from tests.serving import Server

GOOD_PHOTO: Final = encoded()
_PROBLEM: Final = {"type", "title", "status", "code", "detail", "request_id"}


class HostileService:
    """A server, and the answer that it gave to a good photo before all else."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.worker = worker_of(server)
        self._expected = self._predictions()
        # The first large photos and threads take memory that stays: what counts is what comes on
        # top of it.
        for _ in range(20):
            self.assert_unharmed()
        self.memory_before = memory_of(self.worker)

    def send(self, request: bytes, patience: float = PATIENCE, *, cut_short: bool = False) -> Reply:
        return exchange(self.server.port, request, patience, cut_short=cut_short)

    def assert_unharmed(self) -> None:
        """Check that a photo has the same answer, to the last digit, from the same worker."""
        assert self._predictions() == self._expected
        assert worker_of(self.server) == self.worker

    def _predictions(self) -> Any:
        reply = self.send(post(GOOD_PHOTO))
        assert reply.status == 200, reply
        return reply.json["predictions"]


def assert_answered_as_allowed(kind: Kind, reply: Reply) -> None:
    """Check the status, and that what is refused by the app is told by a problem that helps."""
    assert reply.whole
    assert reply.status in kind.allowed, (reply.status, reply.body[:500])
    assert not reply.shows_the_inside, reply.body[:2000]
    page = reply.headers.get_content_type() == "text/html"
    if reply.status in (CLOSED, 200, 308) or (page and kind.as_page):
        return
    assert_problem(reply)


def assert_problem(reply: Reply) -> None:
    assert reply.headers["Content-Type"] == "application/problem+json"
    if not reply.body:
        assert reply.headers["Allow"]  # an answer to HEAD
        return
    problem = reply.json
    assert set(problem) == _PROBLEM
    assert problem["status"] == reply.status
    # One sentence or two, of bounded length.
    assert re.fullmatch(r"[A-Z'].{15,700}\.(jpg)?", problem["detail"], re.DOTALL), problem


def worker_of(server: Server) -> int:
    """Return the process id of gunicorn's one worker, or 0 where there is none now."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs Linux's /proc")
    workers = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while it is looked at. Its name, in brackets, may hold spaces.
        with suppress(OSError):
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == server.process.pid and state != "Z":
                workers.append(int(file.parent.name))
    return workers[0] if len(workers) == 1 else 0


def memory_of(process: int) -> int:
    """Return the MiB of memory that a process holds now."""
    status = Path(f"/proc/{process}/status").read_text()
    (kib,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kib) // 1024
