"""Benchmark of CPU backends for the bundled model: PyTorch, OpenVINO and ONNX Runtime.

Each backend runs in its own process.

python -m benchmarks.backends
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.environments import ROOT
from benchmarks.models import float32_onnx
from benchmarks.results_file import write_csv
from model import BUNDLED_CHECKPOINT

_BACKENDS: Final = ("openvino", "onnxruntime", "torch")


def measure(backend: str, seconds: float) -> dict[str, Any]:
    """Load the model in this process, run it repeatedly on one photo, and return the table row."""
    started = time.perf_counter()
    if backend == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(
            str(float32_onnx()), providers=["CPUExecutionProvider"]
        )

        side = session.get_inputs()[0].shape[2]

        def run(batch: Any) -> Any:
            return session.run(None, {"images": batch})[0]
    else:
        from model.classifier import Classifier

        path = float32_onnx() if backend == "openvino" else BUNDLED_CHECKPOINT
        classifier = Classifier.load(path, "cpu")
        run, side = classifier.logits, classifier.metadata.transform.crop
    images = np.random.default_rng(0).integers(256, size=(1, side, side, 3)).astype(np.uint8)
    logits = run(images)
    ready = time.perf_counter() - started
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run_started = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - run_started)
    memory = next(
        int(line.split()[1])
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )
    return {
        "backend": backend,
        "ready_s": ready,
        "photo_ms": statistics.median(times) * 1000,
        "memory_mib": memory / 1024,
        "sum_of_logits": float(np.abs(logits).sum()),
    }


def main() -> None:
    """Run the benchmark; with --one, measure in this process and print JSON."""
    parser = argparse.ArgumentParser(description="Compare backends on a CPU.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--one", choices=_BACKENDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.seconds)))
        return
    rows = []
    for _ in range(options.rounds):
        for backend in _BACKENDS:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.backends", "--one", backend,
                 "--seconds", str(options.seconds)],
                cwd=ROOT, capture_output=True, text=True, check=True,
            )  # fmt: skip
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    write_csv(options.output / "backends.csv", rows)
    medians = {
        backend: {
            column: statistics.median(row[column] for row in rows if row["backend"] == backend)
            for column in ("ready_s", "photo_ms", "memory_mib")
        }
        for backend in _BACKENDS
    }
    print("| backend | time of one photo / OpenVINO | load s | MiB |\n| --- | --- | --- | --- |")
    for backend, found in medians.items():
        ratio = found["photo_ms"] / medians["openvino"]["photo_ms"]
        print(f"| {backend} | {ratio:.2f} | {found['ready_s']:.2f} | {found['memory_mib']:.0f} |")


if __name__ == "__main__":
    main()
