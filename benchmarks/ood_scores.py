"""Benchmark of out-of-distribution (OOD) scores that need no training of the network.

Each row separates ../everyday_dev from ../everyday_unknown_dev. Scores of features are fitted on
the training photos, which the network saw. `--backbone` adds a linear head on the frozen features
of another network, alone and averaged with the checkpoint.

python -m benchmarks.ood_scores --data data/oxford102
python -m benchmarks.ood_scores --data data/oxford102 --backbone resnet50.tv2_in1k \
    --pretrained-path resnet50.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from benchmarks.embeddings import (
    Embedded,
    Embedder,
    Index,
    TrainingFeatures,
    balanced,
    linear_head,
)
from benchmarks.environments import ROOT
from benchmarks.results_file import print_table, write_csv
from model import BUNDLED_CHECKPOINT
from model.backbones import build_network, data_transform
from model.backends.base import Array
from model.checkpoint.format import load_checkpoint
from model.checkpoint.metadata import Architecture, Metadata
from model.evaluation.detection import auroc
from model.ood import SCORES, OodRule, ood_scores
from model.training.calibration import LabelledLogits, fit_temperature

_KNOWN: Final = "../everyday_dev"
_UNKNOWN: Final = "../everyday_unknown_dev"
_TRAINING: Final = {"train": 1.0, "../wild_train": 1.0, "../everyday_train": 2.5}  # as in lite2
_OOD_TRAINING: Final = ("../everyday_unknown_train", "../unknown_flowers")
_ZOOM: Final = 1.25
_BACKBONE_SIZE: Final = 224  # pixels
_ACCEPTED: Final = 0.93  # of the correctly classified photos, as in scripts/bundle.py
_PENALTY: Final = 1e-2  # of the linear heads
_RESAMPLES: Final = 1000
_COLUMNS: Final = {
    "score": "score",
    "everyday_dev": "everyday_dev",
    "auroc": "AUROC",
    "difference": "difference",
    "correct_misclassified": "AUROC of correct / misclassified photos",
    "unknown": "`unknown`",
}

Scores = tuple[Array, Array]  # of the known and of the unknown photos
Score = Callable[[Embedded], Array]  # (N,)


@dataclass(frozen=True)
class Comparison:
    """Rows of OOD scores on the same photos, each with its difference to the first.

    Attributes:
        targets: Class indices of the known photos, int64 (N,).
        rows: The rows so far.
        first: Scores of the first row.
    """

    targets: Index
    rows: list[dict[str, Any]]
    first: Scores

    def add(self, name: str, known: Array, scores: Scores) -> None:
        """Add a row.

        Args:
            name: Name of the score.
            known: Logits of the known photos, (N, C), for the accuracy.
            scores: Scores of the known and of the unknown photos.
        """
        correct = known.argmax(axis=1) == self.targets
        threshold = np.quantile(scores[0][correct], 1 - _ACCEPTED, method="lower")
        values, differences = bootstrap(scores, self.first)
        parts = [scores[0][chosen] for chosen in (correct, ~correct)]
        self.rows.append(
            {
                "score": name,
                "everyday_dev": f"{correct.mean():.2%}",
                "auroc": f"{auroc(*scores):.3f} {interval(values)}",
                "difference": f"{auroc(*scores) - auroc(*self.first):+.3f} {interval(differences)}",
                "correct_misclassified": " / ".join(
                    f"{auroc(part, scores[1]):.3f}" if len(part) else "–" for part in parts
                ),
                "unknown": " / ".join(f"{(item < threshold).mean():.1%}" for item in scores),
            }
        )


def bootstrap(scores: Scores, others: Scores) -> tuple[Array, Array]:
    """Resample the photos; return the AUROCs of a score, and their differences to another's."""
    random = np.random.default_rng(0)
    values, differences = [], []
    for _ in range(_RESAMPLES):
        chosen = [random.integers(0, len(item), len(item)) for item in scores]
        value, other = (
            auroc(*(item[index] for item, index in zip(pair, chosen, strict=True)))
            for pair in (scores, others)
        )
        values.append(value)
        differences.append(value - other)
    return np.array(values), np.array(differences)


def interval(values: Array) -> str:
    """Return the central 95 % of resampled values as text."""
    low, high = np.quantile(values, [0.025, 0.975])
    return f"[{low:.3f}, {high:.3f}]"


def summary(item: Embedded, temperature: float) -> Array:
    """Return what a verdict could depend on besides the class, float32 (N, 9).

    The columns are the five largest logits, the four scores of `SCORES` but `max_logit`, which is
    the first logit, and the norm of the features.
    """
    largest = -np.sort(-item.logits / temperature, axis=1)[:, :5]
    scores = [ood_scores(name, item.logits, temperature) for name in SCORES if name != "max_logit"]
    norm = np.linalg.norm(item.features, axis=1)
    return np.column_stack([largest, *scores, norm]).astype(np.float32)


def learned_score(describe: Callable[[Embedded], Array], sets: Sequence[Embedded]) -> Score:
    """Fit a logistic regression that separates photos of the classes from OOD photos.

    Args:
        describe: Function from photos to the inputs of the regression, (N, F).
        sets: Photos of both kinds.

    Returns:
        A function from photos to the log-odds of a class photo, (N,).
    """
    targets = np.concatenate([(item.targets >= 0).astype(np.int64) for item in sets])
    weights = 1 / np.bincount(targets)[targets]
    inputs = np.concatenate([describe(item) for item in sets])
    head = linear_head(inputs, targets, weights, _PENALTY)

    def score(item: Embedded) -> Array:
        logits = head(describe(item))
        return np.asarray(logits[:, 1] - logits[:, 0])

    return score


@dataclass(frozen=True)
class Sets:
    """Outputs of one network for all sets.

    Attributes:
        known: Everyday photos of the classes.
        unknown: Everyday photos of other plants.
        training: Training photos of the classes, by the name of the folder.
        ood: OOD training photos.
    """

    known: Embedded
    unknown: Embedded
    training: dict[str, Embedded]
    ood: tuple[Embedded, ...]

    @classmethod
    def load(cls, embedder: Embedder, data: Path, most: int | None) -> Sets:
        """Run a network on all sets.

        Args:
            embedder: The network.
            data: Folder of train/ and valid/; the other sets are beside it.
            most: Number of photos of each training set at most; None for all.
        """
        return cls(
            embedder.labelled(data / _KNOWN),
            embedder.ood(data / _UNKNOWN),
            {name: embedder.labelled(data / name, most) for name in _TRAINING},
            tuple(embedder.ood(data / name, most) for name in _OOD_TRAINING),
        )


def probe(sets: Sets, classes: int) -> Callable[[Embedded], Array]:
    """Fit a linear head on frozen features, with one class more for OOD photos.

    Returns:
        A function from photos to log-probabilities, float32 (N, classes + 1).
    """
    photos = [*sets.training.values(), *sets.ood]
    weights = [*_TRAINING.values(), *[1.0] * len(sets.ood)]
    targets = np.concatenate([item.targets for item in photos])
    targets = np.where(targets < 0, classes, targets)
    sizes = [len(item.targets) for item in photos]
    head = linear_head(
        np.concatenate([item.features for item in photos]),
        targets,
        balanced(targets, np.repeat(weights, sizes)),
        _PENALTY,
    )
    return lambda item: _log_softmax(head(item.features))


def _log_softmax(logits: Array) -> Array:
    return np.asarray(torch.from_numpy(logits).log_softmax(dim=1).numpy())


def compare(
    sets: Sets, views: Mapping[str, tuple[Array, Array]], rule: OodRule, temperature: float
) -> Comparison:
    """Compare OOD scores of a checkpoint: of its logits, of other views, of its features.

    Args:
        sets: Outputs of the checkpoint's network.
        views: Logits of the known and of the unknown photos in other views, by name.
        rule: The checkpoint's OOD rule, whose score is the first row.
        temperature: The checkpoint's.
    """

    def scores(items: Sequence[Array], rule: OodRule = rule) -> Scores:
        known, unknown = (rule.scores(item, temperature) for item in items)
        return known, unknown

    logits = [item.logits for item in (sets.known, sets.unknown)]
    comparison = Comparison(sets.known.targets, [], scores(logits))
    comparison.add(f"{rule.score}, the checkpoint's", logits[0], comparison.first)
    for name in SCORES:
        if name != rule.score:
            comparison.add(name, logits[0], scores(logits, replace(rule, score=name)))
    for name, view in views.items():
        both = [np.mean(pair, axis=0) for pair in zip(logits, view, strict=True)]
        comparison.add(f"{name} view", view[0], scores(view))
        comparison.add(f"mean logits of both views, {name}", both[0], scores(both))
    distances = TrainingFeatures(list(sets.training.values()), sets.ood)
    fitted = [*sets.training.values(), *sets.ood]
    of_features: dict[str, Score] = {
        "norm of the features": lambda item: np.linalg.norm(item.features, axis=1),
        "nearest class mean": distances.nearest_mean,
        "tenth nearest neighbor": distances.neighbor,
        "tenth nearest neighbor, minus that of OOD photos": distances.neighbor_difference,
        "logistic regression on logits and norm": learned_score(
            lambda item: summary(item, temperature), fitted
        ),
        "logistic regression on the features": learned_score(lambda item: item.features, fitted),
    }
    for name, score in of_features.items():
        comparison.add(name, logits[0], (score(sets.known), score(sets.unknown)))
    return comparison


def add_backbone(comparison: Comparison, sets: Sets, other: Sets, temperature: float) -> None:
    """Add a linear head on the frozen features of another network, alone and averaged.

    Args:
        comparison: Comparison of the checkpoint's scores.
        sets: Outputs of the checkpoint's network.
        other: Outputs of the other network.
        temperature: The checkpoint's.
    """
    classes = sets.known.logits.shape[1]
    predict = probe(other, classes)
    found = [predict(item) for item in (other.known, other.unknown)]
    alone = [item[:, :classes] for item in found]
    comparison.add("linear head on the other network", alone[0], _contrasts(alone))
    no_ood = -found[0][:, classes], -found[1][:, classes]
    comparison.add("its probability of an OOD photo", alone[0], no_ood)
    # Fitted on the photos that measure it, so the mean is an upper bound.
    divisor = fit_temperature(
        [LabelledLogits("known", torch.from_numpy(alone[0]), torch.from_numpy(other.known.targets))]
    )
    means = [
        np.mean([_log_softmax(own.logits / temperature), _log_softmax(item / divisor)], axis=0)
        for own, item in zip((sets.known, sets.unknown), alone, strict=True)
    ]
    comparison.add("mean log-probabilities of both networks", means[0], _contrasts(means))


def _contrasts(logits: Sequence[Array]) -> Scores:
    known, unknown = (SCORES["contrast"](item) for item in logits)
    return known, unknown


def _views(
    network: nn.Module, metadata: Metadata, data: Path, precision: str
) -> dict[str, tuple[Array, Array]]:
    """Return the logits of the known and of the unknown photos, mirrored and zoomed in."""
    transform = metadata.transform
    zoomed = replace(metadata, transform=replace(transform, resize=round(_ZOOM * transform.crop)))
    embedders = {
        "mirrored": Embedder(network, metadata, precision=precision, mirrored=True),
        "zoomed in": Embedder(network, zoomed, precision=precision),
    }
    return {
        name: (item.labelled(data / _KNOWN).logits, item.ood(data / _UNKNOWN).logits)
        for name, item in embedders.items()
    }


def _backbone(
    metadata: Metadata, name: str, weights: Path, normalized: bool
) -> tuple[nn.Module, Metadata]:
    architecture = Architecture(name, len(metadata.classes))
    network = build_network(architecture, weights=weights)
    transform = data_transform(network, _BACKBONE_SIZE)
    if not normalized:
        transform = replace(transform, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return network, replace(metadata, architecture=architecture, transform=transform)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Compare OOD scores of a checkpoint.")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and valid/")
    parser.add_argument(
        "--training-photos", type=int, help="photos of each training set at most (default: all)"
    )
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--backbone", help="timm name of another network")
    parser.add_argument("--pretrained-path", type=Path, help="its weights")
    parser.add_argument(
        "--unnormalized", action="store_true", help="its weights take pixels in [0, 1]"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if bool(options.backbone) != bool(options.pretrained_path):
        parser.error("--backbone and --pretrained-path belong together")
    network, metadata = load_checkpoint(options.checkpoint)
    if metadata.ood_rule is None:
        parser.error("the checkpoint has no OOD rule: write one with scripts/calibrate.py")

    def load(network: nn.Module, metadata: Metadata) -> Sets:
        embedder = Embedder(network, metadata, precision=options.precision)
        return Sets.load(embedder, options.data, options.training_photos)

    sets = load(network, metadata)
    views = _views(network, metadata, options.data, options.precision)
    comparison = compare(sets, views, metadata.ood_rule, metadata.temperature)
    if options.backbone:
        other = load(
            *_backbone(
                metadata, options.backbone, options.pretrained_path, not options.unnormalized
            )
        )
        add_backbone(comparison, sets, other, metadata.temperature)
    write_csv(options.output / "ood_scores.csv", comparison.rows)
    print_table(comparison.rows, titles=_COLUMNS)


if __name__ == "__main__":
    main()
