"""Which score tells photos of none of the classes best: those of model.ood, and by features.

    photos of train -> pooled features -> a prototype a class, a bank of neighbours
    photos of valid, of wild, of none of the classes -> scores -> AUROC, FPR95, wild called unknown

The scores of `model.ood` see logits alone. The others see the features before the head, scaled to
length 1: how near the nearest class mean lies, and how near the k-th nearest photo of train (Sun et
al. 2022, "Out-of-distribution detection with deep nearest neighbors").

python -m benchmarks.unknown_scores --data data/oxford102 --wild data/wild \
    --unknown data/not_flowers data/unknown_flowers
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from benchmarks.environments import ROOT
from benchmarks.results_file import print_table, write_csv
from model import BUNDLED_CHECKPOINT
from model.backends.base import Array
from model.checkpoint.format import load_checkpoint
from model.checkpoint.metadata import Metadata
from model.classifier import Classifier
from model.data.ood_photos import ood_photos
from model.data.photo_folder import default_workers
from model.evaluation.evaluate import UnknownPhotos, labelled_photos
from model.evaluation.ood_metrics import separation
from model.ood import SCORES, ood_scores

_PHOTOS_A_CLASS: Final = 20
_NEIGHBOUR: Final = 10
_COMBINED: Final = ("max_logit", "prototype")


@dataclass(frozen=True)
class Seen:
    """What the network made of photos.

    Attributes:
        logits: float32 (N, classes).
        features: float32 (N, F), each of length 1.
        targets: int (N,), -1 for none of the classes.
    """

    logits: Array
    features: Array
    targets: Array


class Scores:
    """Every score of photos, higher for what looks like one of the classes."""

    def __init__(self, bank: Seen, metadata: Metadata) -> None:
        classes = range(int(bank.targets.max()) + 1)
        means = np.stack([bank.features[bank.targets == index].mean(axis=0) for index in classes])
        self._prototypes = means / np.linalg.norm(means, axis=1, keepdims=True)
        self._bank = bank.features
        self._temperature = metadata.temperature
        self._offsets = metadata.ood_rule.logit_adjustment if metadata.ood_rule else ()

    def __call__(self, seen: Seen) -> dict[str, Array]:
        """Return a map from the name of a score to the scores, float32 (N,)."""
        found = {
            name: ood_scores(name, seen.logits, self._temperature, self._offsets) for name in SCORES
        }
        found["prototype"] = (seen.features @ self._prototypes.T).max(axis=1)
        found["neighbour"] = np.sort(seen.features @ self._bank.T, axis=1)[:, -_NEIGHBOUR]
        return found


def see(network: Any, photos: Dataset[Any], workers: int) -> Seen:
    """Run the network, one of timm's, over photos."""
    logits, features, targets = [], [], []
    with torch.inference_mode():
        for images, indices in DataLoader(photos, 16, num_workers=workers):
            maps = network.forward_features(images.contiguous(memory_format=torch.channels_last))
            logits.append(network.forward_head(maps))
            features.append(network.forward_head(maps, pre_logits=True))
            targets.append(indices)
    normal = torch.nn.functional.normalize(torch.cat(features), dim=1)
    return Seen(torch.cat(logits).numpy(), normal.numpy(), torch.cat(targets).numpy())


def compare(
    known: Mapping[str, Array],
    wild: Mapping[str, Array],
    unknown: Mapping[str, Mapping[str, Array]],
) -> list[dict[str, Any]]:
    """Return a row for each score, and for two of them together."""

    def together(scores: Mapping[str, Array]) -> Array:
        parts = [(scores[name] - known[name].mean()) / known[name].std() for name in _COMBINED]
        total: Array = sum(parts[1:], parts[0])
        return total

    rows: list[dict[str, Any]] = []
    for name in (*known, " + ".join(_COMBINED)):
        pick = together if name not in known else lambda scores, name=name: scores[name]
        row: dict[str, Any] = {"score": name}
        for group, scores in unknown.items():
            told = separation(pick(known), pick(scores))
            row[f"{group}_auroc"], row[f"{group}_fpr95"] = told.auroc, told.fpr95
        row["wild_called_unknown"] = float((pick(wild) < np.quantile(pick(known), 0.05)).mean())
        rows.append(row)
    return rows


def _bank(photos: Any) -> Subset[Any]:
    chosen: list[int] = []
    for index in sorted(set(photos.targets)):
        of_class = [number for number, target in enumerate(photos.targets) if target == index]
        chosen += of_class[:_PHOTOS_A_CLASS]
    return Subset(photos, chosen)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Compare scores for photos of no known flower.")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and valid/")
    parser.add_argument("--wild", type=Path, required=True, help="everyday photos of the classes")
    parser.add_argument("--unknown", type=Path, nargs="+", required=True, help="photos of none")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    classifier, workers = Classifier.load(options.checkpoint, "cpu"), default_workers()
    network = load_checkpoint(options.checkpoint)[0].eval().to(memory_format=torch.channels_last)
    bank = see(network, _bank(labelled_photos(classifier, options.data / "train")), workers)
    scores = Scores(bank, classifier.metadata)

    def scored(folder: Path) -> dict[str, Array]:
        return scores(see(network, labelled_photos(classifier, folder), workers))

    unknown = {
        folder.name: scores(
            see(network, UnknownPhotos(classifier, ood_photos(folder, "measuring")), workers)
        )
        for folder in options.unknown
    }
    rows = compare(scored(options.data / "valid"), scored(options.wild), unknown)
    write_csv(options.output / "unknown_scores.csv", rows)
    print_table(rows, ".4f")


if __name__ == "__main__":
    main()
