"""Benchmark of the service's overhead over the model: one client, many clients, large photos.

Decoding and the transform are measured in one thread without a server. They are the least that any
service adds to the model.

python -m benchmarks.overhead
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from benchmarks.environments import ROOT
from benchmarks.float32_model import float32_onnx
from benchmarks.load import ServerProcess, send
from benchmarks.peers import PEERS, petalscope
from benchmarks.photos import photo
from benchmarks.results_file import print_rounds, write_csv
from model.classifier import Classifier
from model.imaging.decode import decode_image, least_decoded_side

_BATCH: Final = 16
_MANY: Final = 32


def model_ms(classifier: Classifier, batch_size: int, seconds: float) -> float:
    """Return the model's median time for a batch in milliseconds."""
    image = Image.open(io.BytesIO(photo(500))).convert("RGB")
    batch = np.stack([classifier.preprocess(image)] * batch_size)
    return median_ms(lambda: classifier.outputs(batch), seconds)


def median_ms(work: Callable[[], object], seconds: float) -> float:
    """Return the median time of a repeated call in milliseconds."""
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def preprocess_ms(classifier: Classifier, data: bytes, seconds: float) -> float:
    """Return the median time from a photo's bytes to the network's input in milliseconds."""
    side = classifier.metadata.transform.resize
    return median_ms(lambda: classifier.preprocess(decode_image(data, target_side=side)), seconds)


def libjpeg_ms(classifier: Classifier, data: bytes, seconds: float) -> float:
    """Return libjpeg's median time in milliseconds, at the scale that the service uses."""
    side = least_decoded_side(classifier.metadata.transform.resize)

    def decode() -> None:
        with Image.open(io.BytesIO(data)) as image:
            image.draft(None, (side, side))
            image.load()

    return median_ms(decode, seconds)


def measure(classifier: Classifier, server: ServerProcess, seconds: float) -> dict[str, float]:
    """Return one measurement of each kind, taken in turn."""
    target = PEERS["petalscope"].target
    small, large = photo(500), photo(4000)
    one = model_ms(classifier, 1, seconds)
    preprocessing = preprocess_ms(classifier, small, seconds / 2)
    one_client = send(target, small, server.port, 1, seconds)
    batch = model_ms(classifier, _BATCH, seconds)
    many_clients = send(target, small, server.port, _MANY, seconds)
    large_alone = libjpeg_ms(classifier, large, seconds / 2)
    large_photos = send(target, large, server.port, 1, seconds)
    return {
        "baseline_ms": one,
        "decode_and_transform_ms": preprocessing,
        "baseline_with_decode_and_transform_over_baseline": (preprocessing + one) / one,
        "one_client_ms": one_client.p50,
        "one_client_over_baseline": one_client.p50 / one,
        "baseline_rate": _BATCH / batch * 1000,
        "many_clients_rate": many_clients.rate,
        "many_clients_over_baseline": many_clients.rate / (_BATCH / batch * 1000),
        "libjpeg_on_12_megapixels_ms": large_alone,
        "libjpeg_on_12_megapixels_over_500_pixels": large_alone / one_client.p50,
        "12_megapixels_ms": large_photos.p50,
        "12_megapixels_over_500_pixels": large_photos.p50 / one_client.p50,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure what the service adds to the model.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6, help="duration of each measurement")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    classifier = Classifier.load(float32_onnx(), "cpu")
    with petalscope() as server:
        send(PEERS["petalscope"].target, photo(500), server.port, 4, 2)
        rows = [measure(classifier, server, options.seconds) for _ in range(options.rounds)]
    write_csv(options.output / "overhead.csv", rows)
    print_rounds(rows)


if __name__ == "__main__":
    main()
