r"""What the service adds to the model: one client, many clients, large photos.

    the bare model and the service behind gunicorn, in turn -> overhead.csv, a table

python -m benchmarks.overhead
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from benchmarks.environments import ROOT
from benchmarks.load import Running, send
from benchmarks.peers import PEERS, petalscope
from benchmarks.photos import photo
from benchmarks.results_file import print_rounds, write_csv
from model import BUNDLED_CHECKPOINT
from model.classifier import Classifier

_BATCH: Final = 16
_MANY: Final = 32


def bare(classifier: Classifier, count: int, seconds: float) -> float:
    """Return the median milliseconds of the model on a batch of `count` photos."""
    image = Image.open(io.BytesIO(photo(500))).convert("RGB")
    batch = np.stack([classifier.preprocess(image)] * count)
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        classifier.outputs(batch)
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def measure(classifier: Classifier, server: Running, seconds: float) -> dict[str, float]:
    """Measure each thing once, one after the other."""
    target = PEERS["petalscope"].target
    small, large = photo(500), photo(4000)
    one = bare(classifier, 1, seconds)
    one_client = send(target, small, server.port, 1, seconds)
    batch = bare(classifier, _BATCH, seconds)
    many_clients = send(target, small, server.port, _MANY, seconds)
    large_photos = send(target, large, server.port, 1, seconds)
    return {
        "bare_ms": one,
        "one_client_ms": one_client.p50,
        "one_client_over_bare": one_client.p50 / one,
        "bare_rate": _BATCH / batch * 1000,
        "many_clients_rate": many_clients.rate,
        "many_clients_over_bare": many_clients.rate / (_BATCH / batch * 1000),
        "12_megapixels_ms": large_photos.p50,
        "12_megapixels_over_500_pixels": large_photos.p50 / one_client.p50,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure what the service adds to the model.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6, help="of each measurement")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    classifier = Classifier.load(BUNDLED_CHECKPOINT.with_suffix(".onnx"), "cpu")
    with petalscope() as server:
        send(PEERS["petalscope"].target, photo(500), server.port, 4, 2)
        rows = [measure(classifier, server, options.seconds) for _ in range(options.rounds)]
    write_csv(options.output / "overhead.csv", rows)
    print_rounds(rows)


if __name__ == "__main__":
    main()
