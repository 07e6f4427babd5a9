"""Soak test: a normal client beside 50 attacking connections.

Quiet phases and attacked phases alternate, so that the noise of the machine affects both.

    python -m tests.adversarial.soak --seconds 600
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.adversarial.attacked_service import GOOD_PHOTO, memory_of, worker_of
from tests.adversarial.cases import MIB, post
from tests.adversarial.conftest import SETTINGS
from tests.adversarial.test_false_sizes import false_avif
from tests.conftest import flower_image
from tests.model.imaging.test_decode import encode
from tests.serving import Server, serving

_PHASE_SECONDS: Final = 10.0
# The server lingers this long on a closed connection.
_SETTLE_SECONDS: Final = 2.5
_PAUSE_SECONDS: Final = 0.1
_TICK_SECONDS: Final = 0.5
_MAX_PHOTO_RATIO: Final = 2.0
# Alone, a health check takes a few milliseconds, so a ratio would measure the scheduler.
_MAX_HEALTH_MS: Final = 500.0
# The attackers share the machine; at its default priority the model would yield to them.
_SETTINGS: Final = {**SETTINGS, "PETALSCOPE_MODEL_NICE": "0"}
_GET: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
_BODY: Final = post(b"", length=100_000)
_CHUNKED: Final = _BODY.replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked")


@dataclass(frozen=True)
class Attack:
    """Behavior of some connections: send `first`, then `then` at each tick; read if `reads`.

    A connection that the service closes is replaced at the next tick, after `pause` seconds at the
    earliest.
    """

    connections: int
    first: bytes
    then: bytes = b""
    reads: bool = False
    pause: float = 0.0


def attacks() -> dict[str, Attack]:
    """Return the attacks by name: 50 connections together."""
    scans = encode(flower_image((2000, 1500)), "JPEG", progressive=True)
    last_scan = scans[scans.rindex(b"\xff\xc4") : -2]
    many_scans = scans[:-2] + 60 * last_scan + b"\xff\xd9"
    return {
        "finished, Connection: close": Attack(4, _GET + b"Connection: close\r\n\r\n"),
        "finished, HTTP/1.0": Attack(3, _GET.replace(b"1.1", b"1.0") + b"\r\n"),
        "malformed": Attack(3, b"GARBAGE\r\n\r\n"),
        "refused, unfinished body": Attack(3, _BODY.replace(b"image/jpeg", b"text/plain") + b"x"),
        "slow headers": Attack(8, _BODY[:-2], b"x"),
        "slow bodies": Attack(8, _BODY, b"x"),
        "slow chunks": Attack(4, _CHUNKED, b"1\r\nx\r\n"),
        "slow readers": Attack(4, (_GET + b"\r\n").replace(b"healthz", b"v1/openapi.json") * 500),
        "tiny chunks": Attack(2, _CHUNKED + b"1\r\nx\r\n" * 100_000, reads=True, pause=2),
        "unfinished large body": Attack(3, post(b"", length=20 * MIB) + bytes(16 * MIB)),
        "false AVIF": Attack(4, post(false_avif()), reads=True, pause=2),
        "many scans": Attack(4, post(many_scans), reads=True, pause=2),
    }


class _Connection:
    """One connection of an attack."""

    def __init__(self, port: int, attack: Attack) -> None:
        self._port = port
        self._attack = attack
        self._socket = socket.socket()
        self._unsent = b""
        self._next = 0.0
        self._connect()

    def _connect(self) -> None:
        self._socket.close()
        self._socket = socket.socket()
        if not self._attack.reads:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with suppress(OSError):
            self._socket.settimeout(5)
            self._socket.connect(("127.0.0.1", self._port))
        self._socket.setblocking(False)
        self._unsent = self._attack.first
        self._next = time.monotonic() + self._attack.pause

    def tick(self) -> None:
        """Send what is due; connect again if the service has closed the connection."""
        try:
            with suppress(BlockingIOError):
                if not self._unsent:
                    self._socket.send(self._attack.then)
                while self._unsent:
                    self._unsent = self._unsent[self._socket.send(self._unsent) :]
            with suppress(BlockingIOError):
                while self._attack.reads:
                    if not self._socket.recv(MIB):
                        raise ConnectionResetError
        except OSError:
            if time.monotonic() >= self._next:
                self._connect()


def _attack(port: int, all_attacks: dict[str, Attack]) -> None:
    connections = [
        _Connection(port, attack)
        for attack in all_attacks.values()
        for _ in range(attack.connections)
    ]
    while True:
        for connection in connections:
            connection.tick()
        time.sleep(_TICK_SECONDS)


@contextmanager
def attacking(port: int, all_attacks: dict[str, Attack]) -> Iterator[None]:
    """Attack from another process until the block ends."""
    process = multiprocessing.get_context("fork").Process(
        target=_attack, args=(port, all_attacks), daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


@dataclass
class Phase:
    """Results of a normal client in all phases of one kind.

    Attributes:
        seconds: Response times by request.
        outcomes: Requests by status; "none" without a response.
        memory: Peak resident memory of the worker in MiB.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"photo": [], "health": []})
    outcomes: Counter[str] = field(default_factory=Counter)
    memory: int = 0

    def percentile(self, name: str, percent: int) -> float:
        """Return a percentile of the response times in milliseconds."""
        return statistics.quantiles(self.seconds[name], n=100)[percent - 1] * 1000

    def run(self, server: Server, seconds: float) -> None:
        """Send photos on one connection, and health checks on new ones."""
        worker = worker_of(server)
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._send("photo", connection, "POST", "/predict", GOOD_PHOTO)
            self._send("health", HTTPConnection("127.0.0.1", server.port, timeout=60), "GET")
            if worker:
                self.memory = max(self.memory, memory_of(worker))
            time.sleep(_PAUSE_SECONDS)
        connection.close()

    def _send(
        self,
        name: str,
        connection: HTTPConnection,
        method: str,
        path: str = "/healthz",
        body: bytes | None = None,
    ) -> None:
        started = time.monotonic()
        try:
            connection.request(method, path, body, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            response.read()
            self.outcomes[str(response.status)] += 1
        except (OSError, HTTPException):
            self.outcomes["none"] += 1
            connection.close()
        if name == "health":
            connection.close()
        self.seconds[name].append(time.monotonic() - started)


def failures(alone: Phase, attacked: Phase, max_memory: int) -> list[str]:
    """Return a description of each promise that was broken."""
    found = []
    ratio = attacked.percentile("photo", 99) / alone.percentile("photo", 99)
    if ratio > _MAX_PHOTO_RATIO:
        found.append(f"p99 of photos is {ratio:.1f} times its value alone")
    if (health := attacked.percentile("health", 99)) > _MAX_HEALTH_MS:
        found.append(f"p99 of health checks is {health:.0f} ms")
    found += [f"{count} × {status}" for status, count in attacked.outcomes.items() if status > "4"]
    if attacked.memory > max_memory:
        found.append(f"{attacked.memory} MiB of memory")
    return found


def main() -> int:
    """Run the soak test; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description="Send photos beside 50 attacking connections.")
    parser.add_argument("--seconds", type=float, default=600, help="total duration (default: 600)")
    parser.add_argument(
        "--max-memory",
        type=int,
        default=2048,
        metavar="MIB",
        help="memory limit of the documented container (default: 2048)",
    )
    options = parser.parse_args()
    all_attacks = attacks()
    alone, attacked = Phase(), Phase()
    with TemporaryDirectory() as folder, serving(Path(folder), **_SETTINGS) as server:
        Phase().run(server, 5)  # warm-up
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            alone.run(server, _PHASE_SECONDS)
            with attacking(server.port, all_attacks):
                time.sleep(_SETTLE_SECONDS)
                attacked.run(server, _PHASE_SECONDS)
            time.sleep(_SETTLE_SECONDS)
        error_log = server.error_log
    print("| request | percentile | alone ms | attacked ms | ratio |\n|" + " --- |" * 5)
    for name in alone.seconds:
        for percent in (50, 99):
            before, during = alone.percentile(name, percent), attacked.percentile(name, percent)
            print(f"| {name} | p{percent} | {before:.0f} | {during:.0f} | {during / before:.2f} |")
    print(f"memory: {alone.memory} MiB alone, {attacked.memory} MiB attacked")
    print(f"responses: {dict(alone.outcomes)} alone, {dict(attacked.outcomes)} attacked")
    found = failures(alone, attacked, options.max_memory)
    if "Traceback" in error_log:
        found.append("a traceback in gunicorn's log")
    for failure in found:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
