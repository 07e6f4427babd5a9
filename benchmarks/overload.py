"""Benchmark of overload: response times while wrk sends ten times the capacity.

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
from benchmarks.load import ServerProcess, free_port, send
from benchmarks.peers import PEERS, PETALSCOPE, petalscope
from benchmarks.photos import photo
from benchmarks.results_file import print_rounds, write_csv

_TARGET: Final = PEERS[PETALSCOPE].target
_OVERLOAD_FACTOR: Final = 10
_SLOTS: Final = 24
_CLIENTS: Final = 240
_TIMED_SENDERS: Final = 4


@dataclass(frozen=True)
class Reply:
    """A response: status (0 without a response), time in seconds, and Retry-After."""

    status: int
    seconds: float
    retry_after: str | None


def request(
    port: int, method: str, path: str, body: bytes | None = None, content_type: str = ""
) -> Reply:
    """Send a request on a new connection."""
    started = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": content_type} if body else {})
        response = connection.getresponse()
        response.read()
        return Reply(
            response.status, time.perf_counter() - started, response.getheader("Retry-After")
        )
    except OSError:
        return Reply(0, time.perf_counter() - started, None)
    finally:
        connection.close()


def repeat(stop: threading.Event, send_one: Callable[[], Reply], pause: float) -> list[Reply]:
    """Send requests with a pause in seconds between them until `stop` is set."""
    replies = []
    while not stop.wait(pause):
        replies.append(send_one())
    return replies


def percentile(replies: list[Reply], percent: int) -> float:
    """Return a percentile of the response times in milliseconds."""
    times = [reply.seconds * 1000 for reply in replies]
    return statistics.quantiles(times, n=100)[percent - 1] if len(times) > 1 else sum(times)


def overload(server: ServerProcess, metrics: int, seconds: float) -> dict[str, float]:
    """Measure the capacity, ten times that load, and the recovery."""
    data = photo(500)
    body, content_type = _TARGET.body(data)

    def send_photo() -> Reply:
        return request(server.port, "POST", _TARGET.path, body, content_type)

    capacity = send(_TARGET, data, server.port, _SLOTS - 4, seconds).rate
    rest = server.memory()
    probes: dict[str, tuple[Callable[[], Reply], float]] = {
        "/healthz": (lambda: request(server.port, "GET", "/healthz"), 0.02),
        "/readyz": (lambda: request(server.port, "GET", "/readyz"), 0.02),
        "/metrics": (lambda: request(metrics, "GET", "/metrics"), 0.1),
        "metrics_port_readyz": (lambda: request(metrics, "GET", "/readyz"), 0.02),
    }
    stop = threading.Event()
    with ThreadPoolExecutor(_TIMED_SENDERS + len(probes)) as threads:
        timed = [threads.submit(repeat, stop, send_photo, 0.05) for _ in range(_TIMED_SENDERS)]
        health_futures = {
            path: threads.submit(repeat, stop, check, pause)
            for path, (check, pause) in probes.items()
        }
        load = send(
            _TARGET, data, server.port, _CLIENTS, seconds, _CLIENTS / (_OVERLOAD_FACTOR * capacity)
        )
        peak = server.memory()
        stop.set()
        ended = time.perf_counter()
        photos = [reply for future in timed for reply in future.result()]
        health = {path: future.result() for path, future in health_futures.items()}
    while send_photo().status != 200:
        time.sleep(0.01)
    recovered = time.perf_counter() - ended
    again = send(_TARGET, data, server.port, _SLOTS - 4, seconds).rate
    answered = [reply for reply in photos if reply.status == 200]
    refused = [reply for reply in photos if reply.status == 429]
    return {
        "capacity": capacity,
        "sent_over_capacity": load.sent / capacity,
        "answered_over_capacity": load.rate / capacity,
        "answered_p95_ms": percentile(answered, 95),
        "queue_over_rate_ms": (_SLOTS + 1) / max(load.rate, 0.1) * 1000,
        "refused_p99_ms": percentile(refused, 99),
        "refused_without_retry_after": sum(not reply.retry_after for reply in refused),
        "other_responses": len(photos) - len(answered) - len(refused),
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
    parser = argparse.ArgumentParser(description="Measure the service at ten times its capacity.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="duration of each load")
    parser.add_argument("--model", default="float32", choices=["float32", "int8"])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    rows = []
    for _ in range(options.rounds):
        metrics = free_port()
        settings = {
            "PETALSCOPE_METRICS_PORT": str(metrics),
            "PETALSCOPE_THREADS": str(_SLOTS + 8),
            "PETALSCOPE_MAX_IN_FLIGHT": str(_SLOTS),
        }
        with petalscope(options.model, settings=settings) as server:
            rows.append(overload(server, metrics, options.seconds))
    write_csv(options.output / "overload.csv", rows)
    print_rounds(rows)


if __name__ == "__main__":
    main()
