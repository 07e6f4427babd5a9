"""What a large JPEG's photo loses where it is decoded at reduced scale, as the service does.

    each photo, enlarged to a JPEG of which a half, a quarter or an eighth is just enough
        -> decoded whole, and at that scale -> both named -> reduced_jpegs.csv, a table

An enlarged photo has no finer detail than it had, but all that the network can see is in it.

python -m benchmarks.reduced_jpegs data/oxford102/valid data/wild
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.environments import ROOT
from benchmarks.quantized import alike
from benchmarks.results_file import print_table, write_csv
from model import BUNDLED_CHECKPOINT
from model.backends.base import Array
from model.classifier import Classifier
from model.data.photo_folder import decode_photo
from model.evaluation.evaluate import labelled_photos
from model.imaging.decode import decode_image, least_decoded_side

_QUALITY = 90
_COLUMNS = {
    "photos": "photos",
    "scale": "scale",
    "whole_top1": "top-1, decoded whole",
    "reduced_top1": "at the scale",
    "named_alike": "named alike",
    "probability": "first probability differs by",
}


def enlarged(photo: Image.Image, side: int) -> bytes:
    """Return a photo as a JPEG whose shorter side has `side` pixels."""
    factor = side / min(photo.size)
    size = (round(photo.width * factor), round(photo.height * factor))
    file = io.BytesIO()
    photo.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def compare(classifier: Classifier, folder: Path, scale: int) -> dict[str, Any]:
    """Name the photos of a folder of class folders both ways; return the table's row."""
    target = classifier.metadata.transform.resize
    side = scale * least_decoded_side(target)

    def both(path: str) -> Array:
        data = enlarged(decode_photo(Path(path)), side)
        whole, reduced = decode_image(data), decode_image(data, target_side=target)
        if whole.size == reduced.size:
            raise RuntimeError(f"{path} was not decoded at 1/{scale}")
        return np.stack([classifier.preprocess(image) for image in (whole, reduced)])

    photos = labelled_photos(classifier, folder)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        pairs = [
            classifier.probabilities(pair)
            for pair in threads.map(both, [path for path, _ in photos.samples])
        ]
    apart = [abs(float(pair[0].max() - pair[1].max())) for pair in pairs]
    named = [[int(pair[way].argmax()) for pair in pairs] for way in (0, 1)]
    return {
        "photos": f"{folder.name}, {len(photos)}",
        "scale": f"1/{scale}",
        "whole_top1": f"{alike(named[0], photos.targets):.2%}",
        "reduced_top1": f"{alike(named[1], photos.targets):.2%}",
        "named_alike": f"{alike(*named):.2%}",
        "probability": f"{statistics.fmean(apart):.4f}",
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Compare decoding whole and at reduced scale.")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of class folders")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    classifier = Classifier.load(BUNDLED_CHECKPOINT.with_suffix(".onnx"), "cpu")
    rows = [compare(classifier, folder, scale) for folder in options.folders for scale in (2, 4, 8)]
    write_csv(options.output / "reduced_jpegs.csv", rows)
    print_table(rows, titles=_COLUMNS)


if __name__ == "__main__":
    main()
