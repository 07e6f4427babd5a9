r"""Overhead of the service over the model: one client, many clients, large photos.

    the bare model, decoding and the service behind gunicorn, in turn -> overhead.csv, a table

What a photo costs before the model is measured here alone, in one thread and without a server: no
service that decodes the photo and resizes it can add less to the model than that.

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
from benchmarks.load import Running, send
from benchmarks.peers import PEERS, petalscope
from benchmarks.photos import photo
from benchmarks.results_file import print_rounds, write_csv
from model import BUNDLED_CHECKPOINT
from model.classifier import Classifier
from model.imaging.decode import decode_image, least_decoded_side

_BATCH: Final = 16
_MANY: Final = 32


def bare(classifier: Classifier, count: int, seconds: float) -> float:
    """Return the median milliseconds of the model on a batch of `count` photos."""
    image = Image.open(io.BytesIO(photo(500))).convert("RGB")
    batch = np.stack([classifier.preprocess(image)] * count)
    return median(lambda: classifier.outputs(batch), seconds)


def median(work: Callable[[], object], seconds: float) -> float:
    """Return the median milliseconds of what is done over and over."""
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def before_the_model(classifier: Classifier, data: bytes, seconds: float) -> float:
    """Return the median milliseconds from a photo's bytes to the network's input."""
    side = classifier.metadata.transform.resize
    return median(lambda: classifier.preprocess(decode_image(data, target_side=side)), seconds)


def by_libjpeg(classifier: Classifier, data: bytes, seconds: float) -> float:
    """Return the median milliseconds of libjpeg alone, at the scale that the service asks for."""
    side = least_decoded_side(classifier.metadata.transform.resize)

    def decode() -> None:
        with Image.open(io.BytesIO(data)) as image:
            image.draft(None, (side, side))
            image.load()

    return median(decode, seconds)


def measure(classifier: Classifier, server: Running, seconds: float) -> dict[str, float]:
    """Measure each thing once, one after the other."""
    target = PEERS["petalscope"].target
    small, large = photo(500), photo(4000)
    one = bare(classifier, 1, seconds)
    floor = before_the_model(classifier, small, seconds / 2)
    one_client = send(target, small, server.port, 1, seconds)
    batch = bare(classifier, _BATCH, seconds)
    many_clients = send(target, small, server.port, _MANY, seconds)
    large_alone = by_libjpeg(classifier, large, seconds / 2)
    large_photos = send(target, large, server.port, 1, seconds)
    return {
        "bare_ms": one,
        "decode_and_transform_ms": floor,
        "bare_after_decode_and_transform_over_bare": (floor + one) / one,
        "one_client_ms": one_client.p50,
        "one_client_over_bare": one_client.p50 / one,
        "bare_rate": _BATCH / batch * 1000,
        "many_clients_rate": many_clients.rate,
        "many_clients_over_bare": many_clients.rate / (_BATCH / batch * 1000),
        "libjpeg_on_12_megapixels_ms": large_alone,
        "libjpeg_on_12_megapixels_over_500_pixels": large_alone / one_client.p50,
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
