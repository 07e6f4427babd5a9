"""What a second look at a photo would bring: other views of it, or other checkpoints.

    each photo -> the checkpoint's own view, mirrored, whole and squeezed, from nearer, ┐
                  from nearer where the first look saw the flower                       ├ log
                  the same view by other checkpoints                                    │
    probabilities, alone and averaged with the first -> top-1, top-5 -> a table         ┘

python -m benchmarks.second_looks CHECKPOINT… --photos data/oxford102/valid data/wild
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from benchmarks.environments import ROOT
from benchmarks.results_file import print_table, write_csv
from model.backends.base import Array
from model.classifier import Classifier
from model.imaging.activation_map import evidence
from model.imaging.decode import IMAGE_SUFFIXES, decode_image
from model.imaging.transforms import EvaluationTransform

_NEARER: Final = 1.4  # times as large as in the checkpoint's own view


def views(classifier: Classifier, image: Image.Image) -> dict[str, Array]:
    """Return a map from a view to what the network sees of it, float32 (3, H, W)."""
    transform = classifier.metadata.transform
    own = transform(image)
    nearer = replace(transform, resize=round(transform.resize * _NEARER))
    squeezed = image.resize((transform.crop, transform.crop), Image.Resampling.BICUBIC)
    return {
        "own view": own,
        "mirrored": np.ascontiguousarray(own[:, :, ::-1]),
        "whole, squeezed": transform.normalize(squeezed),
        "from nearer": nearer(image),
        "from nearer, where seen": transform(_where_seen(image, transform, _map(classifier, own))),
    }


def _map(classifier: Classifier, own: Array) -> Array:
    """Return the activation map of the likeliest class, float32 (h, w)."""
    logits, activations = classifier.outputs(own[None])[0]
    if activations is None:
        raise SystemExit("The first checkpoint has no activation maps.")
    likeliest: Array = activations[logits.argmax()]
    return likeliest


def _where_seen(image: Image.Image, transform: EvaluationTransform, seen: Array) -> Image.Image:
    """Cut out of the photo the square, as large as of "from nearer", around what was seen."""
    strength = np.maximum(evidence(seen), 1e-6)
    whole = min(image.size) * transform.crop / transform.resize
    side = whole / _NEARER
    corner = []
    for length, weights in zip(image.size, (strength.sum(0), strength.sum(1)), strict=True):
        middle = np.average((np.arange(len(weights)) + 0.5) / len(weights), weights=weights)
        start = (length - whole) / 2 + middle * whole - side / 2
        corner.append(round(min(max(start, 0), length - side)))
    left, top = corner
    return image.crop((left, top, left + round(side), top + round(side)))


def looks(classifiers: Sequence[Classifier], image: Image.Image) -> dict[str, Array]:
    """Return a map from a look to its log probabilities, float32 (classes,)."""
    first, *others = classifiers
    seen = views(first, image)
    batch = np.stack(list(seen.values()))
    found = dict(zip(seen, np.log(first.probabilities(batch)), strict=True))
    for number, other in enumerate(others, 2):
        found[f"checkpoint {number}"] = np.log(other.probabilities(batch[:1])[0])
    return found


def combined(single: dict[str, Array]) -> Iterator[tuple[str, Array]]:
    """Yield each look, each averaged with the first, and all views and all checkpoints averaged."""
    own, *rest = single
    yield from single.items()
    for name in rest:
        yield f"{own} and {name}", _mean([single[own], single[name]])
    checkpoints = [name for name in rest if name.startswith("checkpoint")]
    groups = {"all views": [name for name in rest if name not in checkpoints]}
    if checkpoints:
        groups["all checkpoints"] = checkpoints
    for name, members in groups.items():
        yield name, _mean([single[own], *(single[member] for member in members)])


def _mean(scores: Sequence[Array]) -> Array:
    mean: Array = np.mean(scores, axis=0, dtype=np.float32)
    return mean


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure what a second look would bring.")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="of the same classes")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="class folders")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    classifiers = [Classifier.load(path, "cpu") for path in options.checkpoints]
    metadata = classifiers[0].metadata
    index = {item.class_id: number for number, item in enumerate(metadata.classes)}
    rows: dict[str, dict[str, str | float]] = {}
    for folder in options.photos:
        paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in IMAGE_SUFFIXES)
        for path in paths:
            target = index[path.parent.name]
            # Decoded for the nearest view, so that none is enlarged more than another.
            side = round(metadata.transform.resize * _NEARER)
            for name, scores in combined(looks(classifiers, decode_image(path, target_side=side))):
                row = rows.setdefault(name, {"look": name})
                rank = int((scores > scores[target]).sum())
                for most in (1, 5):
                    column = f"{folder.name}_top{most}"
                    row[column] = float(row.get(column, 0)) + (rank < most) / len(paths)
    write_csv(options.output / "second_looks.csv", list(rows.values()))
    print_table(list(rows.values()), ".2%")


if __name__ == "__main__":
    main()
