"""Benchmark of scaling: batch size, cores and clients, and memory over 20,000 photos.

python -m benchmarks.scaling
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.environments import ROOT
from benchmarks.load import send
from benchmarks.models import MODELS
from benchmarks.overhead import model_cost, send_and_count
from benchmarks.peers import PEERS, PETALSCOPE, petalscope
from benchmarks.photos import photo
from benchmarks.results_file import print_table, write_csv
from model.classifier import Classifier

_BATCHES: Final = (1, 2, 4, 8, 16, 32)
# Enough to fill the batches of one core. More cores need as many each.
_CLIENTS_PER_CORE: Final = 16
_MAX_CLIENTS: Final = 128  # the benchmarks' service has a slot for each
_TARGET: Final = PEERS[PETALSCOPE].target


def by_batch(model: str, seconds: float) -> list[dict[str, Any]]:
    """Return photos per second of the model alone for each batch size."""
    classifier = Classifier.load(MODELS[model](), "cpu")
    rates = {size: size / model_cost(classifier, size, seconds).ms * 1000 for size in _BATCHES}
    return [
        {"batch": size, "rate": rate, "of_batch_1": rate / rates[1]} for size, rate in rates.items()
    ]


def by_cores(model: str, seconds: float) -> list[dict[str, Any]]:
    """Return the rate of a service that is bound to the first 1, 2, 4, … cores.

    `of_one_core` is the rate per core, relative to that of one core. The load's clients run on the
    cores that are left. Without one left they take some of the service's time.
    """
    cores = sorted(os.sched_getaffinity(0))
    rows = list[dict[str, Any]]()
    for count in [*_powers_of_two(len(cores)), len(cores)]:
        clients = min(_CLIENTS_PER_CORE * count, _MAX_CLIENTS)
        with petalscope(model, cores=cores[:count]) as server:
            send(_TARGET, photo(500), server.port, 4, 1)
            one = send(_TARGET, photo(500), server.port, 1, seconds)
            many, cpu_ms = send_and_count(server, clients, seconds)
        one_core = rows[0]["rate"] if rows else many.rate
        rows.append(
            {
                "cores": count,
                "one_client_p50_ms": one.p50,
                "clients": clients,
                "rate": many.rate,
                "of_one_core": many.rate / count / one_core,
                "p99_ms": many.p99,
                "cpu_ms_per_photo": cpu_ms,
            }
        )
    return rows


def _powers_of_two(limit: int) -> list[int]:
    """Return the powers of two below a limit."""
    return [1 << power for power in range((limit - 1).bit_length())]


def over_time(model: str, photos: int, pieces: int = 20) -> list[dict[str, Any]]:
    """Return the service's memory while 16 clients send photos.

    `growth` is relative to the memory after the first tenth of the photos, the warm-up.
    """
    data, rows, answered = photo(500), list[dict[str, Any]](), 0.0
    seconds = max(2.0, photos / pieces / 60)
    warm: float | None = None
    with petalscope(model) as server:
        while answered < photos:
            load = send(_TARGET, data, server.port, 16, seconds)
            answered += load.rate * seconds
            memory = server.memory()
            if warm is None and answered >= photos / 10:
                warm = memory
            rows.append(
                {"photos": round(answered), "mib": memory, "growth": memory / (warm or memory) - 1}
            )
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure how the service scales.")
    parser.add_argument("--seconds", type=float, default=5, help="duration of each load")
    parser.add_argument("--photos", type=int, default=20_000, help="photos of the memory table")
    parser.add_argument("--model", default="int8", choices=["float32", "int8"])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    tables: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "batches": lambda: by_batch(options.model, options.seconds),
        "cores": lambda: by_cores(options.model, options.seconds),
        "memory": lambda: over_time(options.model, options.photos),
    }
    parser.add_argument("--tables", nargs="+", default=list(tables), choices=list(tables))
    options = parser.parse_args()
    for name in options.tables:
        rows = tables[name]()
        write_csv(options.output / f"{name}.csv", rows)
        print_table(rows, ".4g")


if __name__ == "__main__":
    main()
