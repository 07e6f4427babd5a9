r"""Behaviour of the service under ten times the load that it can serve.

    wrk sends ten times the capacity; meanwhile photos and health checks are sent and timed here
    -> overload.csv, a table

python -m benchmarks.overload
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from benchmarks.environments import ROOT
from benchmarks.load import Running, free_port, send
from benchmarks.peers import PEERS, petalscope
from benchmarks.photos import photo
from benchmarks.results_file import print_rounds, write_csv

_TARGET: Final = PEERS["petalscope"].target
_TIMES: Final = 10
_PLACES: Final = 24
_CLIENTS: Final = 240
_TIMED_SENDERS: Final = 4


@dataclass(frozen=True)
class Reply:
    """One answer: its status (0 for none), its time in seconds, and its Retry-After."""

    status: int
    seconds: float
    retry_after: str | None


def ask(port: int, method: str, path: str, body: bytes | None = None, kind: str = "") -> Reply:
    """Send a request on a connection of its own."""
    begun = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": kind} if body else {})
        response = connection.getresponse()
        response.read()
        return Reply(
            response.status, time.perf_counter() - begun, response.getheader("Retry-After")
        )
    except OSError:
        return Reply(0, time.perf_counter() - begun, None)
    finally:
        connection.close()


def until(stop: threading.Event, question: Callable[[], Reply], pause: float) -> list[Reply]:
    """Ask over and over, with a pause in between."""
    replies = []
    while not stop.wait(pause):
        replies.append(question())
    return replies


def percentile(replies: list[Reply], percent: int) -> float:
    """Return a percentile of the times, in milliseconds."""
    times = [reply.seconds * 1000 for reply in replies]
    return statistics.quantiles(times, n=100)[percent - 1] if len(times) > 1 else sum(times)


def overload(server: Running, metrics: int, seconds: float) -> dict[str, float]:
    """Measure the capacity, then ten times the load, then how soon all is as before."""
    data = photo(500)
    body, kind = _TARGET.body(data)

    def one() -> Reply:
        return ask(server.port, "POST", _TARGET.path, body, kind)

    capacity = send(_TARGET, data, server.port, _PLACES - 4, seconds).rate
    rest = server.memory()
    questions: dict[str, tuple[Callable[[], Reply], float]] = {
        "/healthz": (lambda: ask(server.port, "GET", "/healthz"), 0.02),
        "/readyz": (lambda: ask(server.port, "GET", "/readyz"), 0.02),
        "/metrics": (lambda: ask(metrics, "GET", "/metrics"), 0.1),
        "/readyz_beside_it": (lambda: ask(metrics, "GET", "/readyz"), 0.02),
    }
    stop = threading.Event()
    with ThreadPoolExecutor(_TIMED_SENDERS + len(questions)) as threads:
        timed = [threads.submit(until, stop, one, 0.05) for _ in range(_TIMED_SENDERS)]
        checks = {
            path: threads.submit(until, stop, question, pause)
            for path, (question, pause) in questions.items()
        }
        load = send(_TARGET, data, server.port, _CLIENTS, seconds, _CLIENTS / (_TIMES * capacity))
        peak = server.memory()
        stop.set()
        ended = time.perf_counter()
        photos = [reply for future in timed for reply in future.result()]
        health = {path: future.result() for path, future in checks.items()}
    while one().status != 200:
        time.sleep(0.01)
    recovered = time.perf_counter() - ended
    again = send(_TARGET, data, server.port, _PLACES - 4, seconds).rate
    answered = [reply for reply in photos if reply.status == 200]
    refused = [reply for reply in photos if reply.status == 429]
    return {
        "capacity": capacity,
        "sent_over_capacity": load.sent / capacity,
        "answered_over_capacity": load.rate / capacity,
        "answered_p95_ms": percentile(answered, 95),
        "queue_over_rate_ms": (_PLACES + 1) / max(load.rate, 0.1) * 1000,
        "refused_p99_ms": percentile(refused, 99),
        "refused_without_retry_after": sum(not reply.retry_after for reply in refused),
        "neither_answered_nor_refused": len(photos) - len(answered) - len(refused),
        **{f"{path}_p99_ms": percentile(replies, 99) for path, replies in health.items()},
        "health_checks_failed": sum(
            reply.status != 200 for replies in health.values() for reply in replies
        ),
        "rest_mib": rest,
        "load_mib": peak,
        "recovered_s": recovered,
        "capacity_after_over_before": again / capacity,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Send ten times what the service can name.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    rows = []
    for _ in range(options.rounds):
        metrics = free_port()
        settings = {
            "PETALSCOPE_METRICS_PORT": str(metrics),
            "PETALSCOPE_THREADS": str(_PLACES + 8),
            "PETALSCOPE_MAX_IN_FLIGHT": str(_PLACES),
        }
        with petalscope(**settings) as server:
            rows.append(overload(server, metrics, options.seconds))
    write_csv(options.output / "overload.csv", rows)
    print_rounds(rows)


if __name__ == "__main__":
    main()
