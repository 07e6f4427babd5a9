"""Benchmark of rounding in the int8 file: other engines and processors against the service.

Rounding amplifies the smallest difference: one activation that rounds to another step changes some
of the next layer's. So every two ways to compute the network that are not identical to the last
bit differ about as much, whatever their first difference was.

python -m benchmarks.int8_rounding --photos 205 data/oxford102/valid data/everyday_dev
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np

from benchmarks.environments import ROOT
from benchmarks.on_device_agreement import read_photos
from benchmarks.results_file import print_table, write_csv
from model import BUNDLED_INT8
from model.backends.base import Array, Pixels
from model.backends.onnx_export import INPUT
from model.backends.openvino_backend import LOGITS
from model.classifier import Classifier
from model.imaging.decode import decode_image
from tests.on_device_page import Agreement

_CHANGED: Final = 1000  # one value in this many
_WITHOUT_VNNI: Final = {"ONEDNN_MAX_CPU_ISA": "AVX2"}


def by_openvino(path: Path, photos: Pixels) -> Array:
    """Return the logits of photos, uint8 (N, H, W, 3), as the service computes them."""
    return Classifier.load(path, "cpu").logits(photos)


def without_vnni(path: Path, photos: Pixels) -> Array:
    """Return the logits on the instructions of an older processor, which OpenVINO reads once."""
    with (
        mock.patch.dict(os.environ, _WITHOUT_VNNI),
        ProcessPoolExecutor(1, get_context("spawn")) as process,
    ):
        return process.submit(by_openvino, path, photos).result()


def by_onnxruntime(path: Path, photos: Pixels) -> Array:
    """Return the logits by ONNX Runtime, which also runs in browsers and on phones."""
    import onnxruntime  # after OpenVINO's backend, see there

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # its threads spin
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return np.concatenate([session.run([LOGITS], {INPUT: photo[None]})[0] for photo in photos])


def with_changed_values(path: Path, photos: Pixels) -> Array:
    """Return the service's logits after a change of some values of the input by 1."""
    chosen = np.random.default_rng(0).integers(_CHANGED, size=photos.shape) == 0
    return by_openvino(path, np.where(chosen, photos ^ 1, photos))


_WAYS: Final[Mapping[str, Callable[[Path, Pixels], Array]]] = {
    f"OpenVINO, one value in {_CHANGED:,} changed by 1": with_changed_values,
    "ONNX Runtime": by_onnxruntime,
    "OpenVINO without VNNI": without_vnni,
}


def results(classifier: Classifier, logits: Array) -> list[dict[str, Any]]:
    """Return first predictions and verdicts in the form of POST /predict."""
    found = [classifier.result(row, 1) for row in logits]
    return [{"predictions": [vars(item.predictions[0])], "verdict": item.verdict} for item in found]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of class folders")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_INT8, help="an int8 .onnx file")
    parser.add_argument(
        "--photos", type=int, default=1000, help="photos of each folder (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args(argv)
    path = options.checkpoint
    classifier = Classifier.load(path, "cpu")
    rows = []
    for folder in options.folders:
        photos = np.stack(
            [
                classifier.preprocess(decode_image(data))
                for data in read_photos(folder, options.photos)
            ]
        )
        expected = results(classifier, by_openvino(path, photos))
        for way, logits_of in _WAYS.items():
            found = Agreement.of(expected, results(classifier, logits_of(path, photos)))
            rows.append({"folder": folder.name, "way": way, **vars(found)})
            print(rows[-1], file=sys.stderr)
    print_table(rows, ".4f")
    write_csv(options.output / "int8_rounding.csv", rows)


if __name__ == "__main__":
    main()
