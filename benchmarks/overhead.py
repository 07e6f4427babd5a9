"""Benchmark of the service's overhead over the model: one client, many clients, large photos.

The model alone, and decoding and the transform alone, run in one thread without a server. They are
the least that any service needs.

python -m benchmarks.overhead
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from benchmarks.environments import ROOT
from benchmarks.load import Load, ServerProcess, send
from benchmarks.models import MODELS
from benchmarks.peers import PEERS, PETALSCOPE, petalscope
from benchmarks.photos import photo
from benchmarks.results_file import print_medians, write_csv
from model.classifier import Classifier
from model.imaging.decode import decode_image, least_decoded_side

_MANY: Final = 32
_MODELS: Final = ("int8", "float32", "tiny")
_PHOTOS: Final = {"500 pixels": 500, "12 megapixels": 4000}
_TARGET: Final = PEERS[PETALSCOPE].target


@dataclass(frozen=True)
class Cost:
    """Medians of a repeated call.

    Attributes:
        ms: Time in milliseconds.
        cpu_ms: CPU time of all threads in milliseconds.
    """

    ms: float
    cpu_ms: float


def cost_of(work: Callable[[], object], seconds: float) -> Cost:
    """Repeat a call for some time and return its cost; the first call warms up."""
    work()
    times, cpu_times = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started, cpu_started = time.perf_counter(), time.process_time()
        work()
        times.append(time.perf_counter() - started)
        cpu_times.append(time.process_time() - cpu_started)
    return Cost(statistics.median(times) * 1000, statistics.median(cpu_times) * 1000)


def model_cost(classifier: Classifier, batch_size: int, seconds: float) -> Cost:
    """Return the model's cost of a batch."""
    image = Image.open(io.BytesIO(photo(500))).convert("RGB")
    batch = [classifier.preprocess(image)] * batch_size
    return cost_of(lambda: list(classifier.outputs(batch)), seconds)


def decoding(classifier: Classifier, name: str, seconds: float) -> dict[str, Any]:
    """Measure a photo from its bytes to the network's input, and libjpeg alone at that scale."""
    data, side = photo(_PHOTOS[name]), classifier.metadata.transform.resize
    least_side = least_decoded_side(side)

    def decode() -> None:
        with Image.open(io.BytesIO(data)) as image:
            image.draft(None, (least_side, least_side))
            image.load()

    prepared = cost_of(lambda: classifier.preprocess(decode_image(data, target_side=side)), seconds)
    return {
        "photo": name,
        "decode_and_transform_ms": prepared.ms,
        "decode_and_transform_cpu_ms": prepared.cpu_ms,
        "libjpeg_alone_ms": cost_of(decode, seconds).ms,
    }


def send_and_count(server: ServerProcess, clients: int, seconds: float) -> tuple[Load, float]:
    """Send small photos; return the load and the server's CPU time per photo in milliseconds.

    The CPU time is that of the middle half of the load. At its end, some photos are half done.
    """
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(send, _TARGET, photo(500), server.port, clients, seconds)
        time.sleep(seconds / 4)
        started, cpu_started = time.monotonic(), server.cpu_seconds()
        time.sleep(seconds / 2)
        cores = (server.cpu_seconds() - cpu_started) / (time.monotonic() - started)
        load = sending.result()
    if not load.rate:
        raise RuntimeError(f"No photo was classified within {seconds:g} s: run this on idle cores.")
    return load, cores * 1000 / load.rate


def measure(name: str, seconds: float) -> dict[str, Any]:
    """Measure a model alone and the service with it, in turn."""
    classifier = Classifier.load(MODELS[name](), "cpu")
    batch_size = classifier.network.max_batch_size or 1
    one = model_cost(classifier, 1, seconds / 2)
    batch = model_cost(classifier, batch_size, seconds / 2)
    with petalscope(name) as server:
        send(_TARGET, photo(500), server.port, 4, 1)
        one_client, _ = send_and_count(server, 1, seconds)
        many_clients, many_cpu_ms = send_and_count(server, _MANY, seconds)
        large_photos = send(_TARGET, photo(4000), server.port, 1, seconds)
    model_rate, model_cpu_ms = batch_size / batch.ms * 1000, batch.cpu_ms / batch_size
    return {
        "model": name,
        "model_alone_ms": one.ms,
        "one_client_ms": one_client.p50,
        "one_client_over_model_alone": one_client.p50 / one.ms,
        "model_alone_photos_per_second": model_rate,
        f"{_MANY}_clients_photos_per_second": many_clients.rate,
        f"{_MANY}_clients_over_model_alone": many_clients.rate / model_rate,
        "model_alone_cpu_ms": model_cpu_ms,
        f"{_MANY}_clients_cpu_ms": many_cpu_ms,
        f"{_MANY}_clients_cpu_ms_beyond_model": many_cpu_ms - model_cpu_ms,
        "12_megapixels_ms": large_photos.p50,
        "12_megapixels_over_500_pixels": large_photos.p50 / one_client.p50,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure what the service adds to the model.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="duration of each load")
    parser.add_argument("--models", nargs="+", default=list(_MODELS), choices=list(_MODELS))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    classifier = Classifier.load(MODELS["int8"](), "cpu")
    photos, models = [], []
    for _ in range(options.rounds):
        photos += [decoding(classifier, name, options.seconds / 2) for name in _PHOTOS]
        models += [measure(name, options.seconds) for name in options.models]
    write_csv(options.output / "decoding.csv", photos)
    write_csv(options.output / "overhead.csv", models)
    print_medians(photos, "photo")
    print()
    print_medians(models, "model")


if __name__ == "__main__":
    main()
