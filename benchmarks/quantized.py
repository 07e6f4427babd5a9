"""Benchmark of int8 quantization: accuracy, agreement and time of the int8 and float32 ONNX files.

python -m benchmarks.quantized data/oxford102/valid data/wild
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import ROOT
from benchmarks.models import float32_onnx
from benchmarks.results_file import print_table, write_csv
from model import BUNDLED_INT8
from model.backends.base import Array, Pixels
from model.classifier import ClassificationResult, Classifier
from model.evaluation.datasets import labelled_photos

_COLUMNS = {
    "photos": "photos",
    "float32_top1": "float32 top-1",
    "int8_top1": "int8 top-1",
    "same_class": "same class",
    "same_verdict": "same verdict",
    "photo_ratio": "time of one photo, int8 / float32",
    "batch_ratio": "time of a batch, int8 / float32",
}


_NONE = np.empty((0, 0), np.float32)


class Pair:
    """Two classifiers on the same photos, with the time ratio of each run."""

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        self._classifiers = classifiers
        self._ratios: list[float] = []

    def run(self, batch: Pixels) -> list[Array]:
        """Run both on uint8 (N, H, W, 3) and return the logits (N, classes) of each."""
        seconds, logits = [0.0, 0.0], [_NONE, _NONE]
        # The order alternates, because the first run finds the batch in the CPU caches.
        for index in (0, 1) if len(self._ratios) % 2 else (1, 0):
            started = time.perf_counter()
            logits[index] = self._classifiers[index].logits(batch)
            seconds[index] = time.perf_counter() - started
        self._ratios.append(seconds[1] / seconds[0])
        return logits

    def ratio(self) -> float:
        """Return the median ratio of the second classifier's time to the first's."""
        return statistics.median(self._ratios)


def compare(classifiers: Sequence[Classifier], folder: Path) -> dict[str, Any]:
    """Classify a folder of class folders with both classifiers and return the table row."""
    plain = classifiers[0]
    photos = labelled_photos(plain, folder)
    size = plain.network.max_batch_size or 1
    single, batched = Pair(classifiers), Pair(classifiers)
    results: tuple[list[ClassificationResult], list[ClassificationResult]] = ([], [])
    for start in range(0, len(photos), size):
        chosen = range(start, min(start + size, len(photos)))
        batch = np.stack([photos[index][0].numpy() for index in chosen])
        for image in batch:
            single.run(image[None])
        for classifier, found, logits in zip(classifiers, results, batched.run(batch), strict=True):
            found += [classifier.result(row, 1) for row in logits]
    truth = [plain.metadata.classes[target].class_id for target in photos.targets]
    named = [[result.predictions[0].class_id for result in found] for found in results]
    verdicts = [[result.verdict for result in found] for found in results]
    return {
        "photos": f"{folder.name}, {len(photos)}",
        "float32_top1": f"{agreement(named[0], truth):.2%}",
        "int8_top1": f"{agreement(named[1], truth):.2%}",
        "same_class": f"{agreement(*named):.2%}",
        "same_verdict": f"{agreement(*verdicts):.2%}",
        "photo_ratio": f"{single.ratio():.2f}",
        "batch_ratio": f"{batched.ratio():.2f}",
    }


def agreement(one: Sequence[object], other: Sequence[object]) -> float:
    """Return the fraction of equal elements of two lists."""
    return statistics.fmean(a == b for a, b in zip(one, other, strict=True))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Compare a float32 model with its int8 version.")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of class folders")
    parser.add_argument("--float32", type=Path, help="default: exported from checkpoints/")
    parser.add_argument("--int8", type=Path, default=BUNDLED_INT8)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    paths = (options.float32 or float32_onnx(), options.int8)
    classifiers = [Classifier.load(path, "cpu") for path in paths]
    rows = [compare(classifiers, folder) for folder in options.folders]
    write_csv(options.output / "quantized.csv", rows)
    print_table(rows, titles=_COLUMNS)


if __name__ == "__main__":
    main()
