"""Benchmark of scaling: batch size, model threads and clients, and memory over 20,000 photos.

python -m benchmarks.scaling
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Final

from benchmarks.environments import ROOT
from benchmarks.float32_model import float32_onnx
from benchmarks.load import send
from benchmarks.overhead import model_ms
from benchmarks.peers import PEERS, petalscope
from benchmarks.photos import photo
from benchmarks.results_file import print_table, write_csv
from model.classifier import Classifier

_BATCHES: Final = (1, 2, 4, 8, 16, 32)
_CLIENTS: Final = (1, 2, 4, 8, 16, 32)
_TARGET: Final = PEERS["petalscope"].target


def by_batch(seconds: float) -> list[dict[str, Any]]:
    """Return photos per second of the model alone for each batch size."""
    classifier = Classifier.load(float32_onnx(), "cpu")
    rates = {size: size / model_ms(classifier, size, seconds) * 1000 for size in _BATCHES}
    return [
        {"batch": size, "rate": rate, "of_batch_1": rate / rates[1]} for size, rate in rates.items()
    ]


def by_threads(seconds: float) -> list[dict[str, Any]]:
    """Return photos per second for each number of model threads and clients."""
    data, rows = photo(500), []
    for threads in range(1, (os.cpu_count() or 1) + 1):
        with petalscope(PETALSCOPE_MODEL_THREADS=str(threads)) as server:
            send(_TARGET, data, server.port, 4, 2)
            for clients in _CLIENTS:
                load = send(_TARGET, data, server.port, clients, seconds)
                rows.append(
                    {
                        "model_threads": threads,
                        "clients": clients,
                        "rate": load.rate,
                        "p50": load.p50,
                        "p95": load.p95,
                    }
                )
    return rows


def over_time(photos: int, pieces: int = 20) -> list[dict[str, Any]]:
    """Return the service's memory while 16 clients send photos.

    `growth` is relative to the memory after the first tenth of the photos, the warm-up.
    """
    data, rows, answered = photo(500), list[dict[str, Any]](), 0.0
    seconds = max(2.0, photos / pieces / 60)
    warm: float | None = None
    with petalscope() as server:
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


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV and print them as a table."""
    write_csv(path, rows)
    print_table(rows, ".4g")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure how the service scales.")
    parser.add_argument("--seconds", type=float, default=5, help="duration of each load")
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    write(options.output / "batches.csv", by_batch(options.seconds))
    write(options.output / "scaling.csv", by_threads(options.seconds))
    write(options.output / "memory.csv", over_time(options.photos))


if __name__ == "__main__":
    main()
