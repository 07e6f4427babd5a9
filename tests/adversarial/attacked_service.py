"""A running service under attack, with checks that it still works."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.adversarial.cases import CLOSED, Case, post
from tests.adversarial.http_exchange import TIMEOUT, Response, exchange
from tests.app.conftest import encoded
from tests.serving import Server

GOOD_PHOTO: Final = encoded()
# The allocator may retain the memory of the largest photo. A leak of 1 MiB per case exceeds this.
_MAX_GROWTH_MIB: Final = 300
_PROBLEM: Final = {"type", "title", "status", "code", "detail", "request_id"}


class AttackedService:
    """A server and its response to a valid photo before the attack."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.worker = worker_of(server)
        self._expected = self._predictions()
        # Warm up first: the memory of the first photos and threads is not a leak.
        for _ in range(20):
            self.assert_unharmed()
        self.memory_before = memory_of(self.worker)

    def send(
        self, request: bytes, timeout: float = TIMEOUT, *, may_be_incomplete: bool = False
    ) -> Response:
        return exchange(self.server.port, request, timeout, may_be_incomplete=may_be_incomplete)

    def assert_unharmed(self) -> None:
        """Check that the same worker gives the same response to a valid photo."""
        assert self._predictions() == self._expected
        assert worker_of(self.server) == self.worker

    def assert_healthy(self) -> None:
        """Check that all attacks left no error in the logs and little memory in use."""
        self.assert_unharmed()
        grown = memory_of(self.worker) - self.memory_before
        print(f"memory grew by {grown} MiB, from {self.memory_before} MiB")
        assert grown < _MAX_GROWTH_MIB
        assert "Traceback" not in self.server.error_log
        assert {line["level"] for line in self.server.log} == {"info"}

    def _predictions(self) -> Any:
        reply = self.send(post(GOOD_PHOTO))
        assert reply.status == 200, reply
        return reply.json["predictions"]


def assert_allowed_response(case: Case, reply: Response) -> None:
    """Check the status, and that a refusal by the app is a problem document."""
    assert reply.complete
    assert reply.status in case.allowed, (reply.status, reply.body[:500])
    assert not reply.leaks_internals, reply.body[:2000]
    page = reply.headers.get_content_type() == "text/html"
    if reply.status in (CLOSED, 200, 308) or (page and case.html_allowed):
        return
    assert_problem(reply)


def assert_problem(reply: Response) -> None:
    assert reply.headers["Content-Type"] == "application/problem+json"
    if not reply.body:
        assert reply.headers["Allow"]  # response to HEAD
        return
    problem = reply.json
    assert set(problem) == _PROBLEM
    assert problem["status"] == reply.status
    assert re.fullmatch(r"[a-z_]+", problem["code"]), problem
    assert 0 < len(problem["detail"]) < 1000, problem


def worker_of(server: Server) -> int:
    """Return the process ID of gunicorn's worker, or 0 if there is none."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs Linux's /proc")
    workers = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        # A process may end meanwhile. Its name, in parentheses, may contain spaces.
        with suppress(OSError):
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == server.process.pid and state != "Z":
                workers.append(int(file.parent.name))
    return workers[0] if len(workers) == 1 else 0


def memory_of(process: int) -> int:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    (kib,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kib) // 1024
