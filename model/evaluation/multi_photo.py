"""Metrics of several photos of one plant, combined as the service combines them.

The data sets do not identify plants, so the photos of a group come from one folder: a class, or a
species of OOD photos. Photos of one plant are more alike, so the real gain is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from model.backends.base import Array
from model.evaluation.detection import auroc
from model.evaluation.verdict_metrics import VerdictMetrics, compute_group_verdict_metrics
from model.ood import OodRule

Indices = npt.NDArray[np.int64]

_PHOTO_COUNTS: Final = (2, 3)
_ROUNDS: Final = 20
_SEED: Final = 0


@dataclass(frozen=True)
class MultiPhotoMetrics:
    """Metrics of the same photos, each alone and combined in groups.

    Attributes:
        photos: Number of photos in a group.
        groups: Number of groups, over `_ROUNDS` random groupings.
        alone_top1: Top-1 accuracy of the single photos; None for OOD photos, as `combined_top1`.
        combined_top1: Top-1 accuracy of the groups.
        alone: Verdicts on the single photos; None without a rule, as `combined`.
        combined: Verdicts on the groups.
    """

    photos: int
    groups: int
    alone_top1: float | None
    combined_top1: float | None
    alone: VerdictMetrics | None
    combined: VerdictMetrics | None


@dataclass(frozen=True)
class MultiPhotoDetection:
    """AUROC of OOD detection with groups of photos, by the score of a group.

    Attributes:
        photos: Number of photos in a group.
        alone: Each photo is a group.
        mean_score: Mean of the photos' scores.
        score_of_mean: Score of the photos' mean logits.
        combined: `OodRule.combined_scores`, the mean of both.
    """

    photos: int
    alone: float
    mean_score: float
    score_of_mean: float
    combined: float


def compute_multi_photo_metrics(
    logits: Array,
    folders: Indices,
    targets: Indices | None,
    temperature: float,
    rule: OodRule | None,
) -> tuple[MultiPhotoMetrics, ...]:
    """Classify random pairs and triples of photos from one folder.

    Args:
        logits: float32 (N, C).
        folders: Index of each photo's folder, int64 (N,).
        targets: int64 (N,), or None for OOD photos.
        temperature: Divisor of the logits.
        rule: The checkpoint's rule, if it has one.

    Returns:
        The metrics of each number of photos for which a folder has enough.
    """
    return tuple(
        _metrics(logits, members, targets, temperature, rule)
        for photos in _PHOTO_COUNTS
        if len(members := _groups(folders, photos))
    )


def compute_multi_photo_detection(
    in_distribution: tuple[Array, Indices],
    ood: tuple[Array, Indices],
    temperature: float,
    rule: OodRule | None,
) -> tuple[MultiPhotoDetection, ...]:
    """Measure the separation of in-distribution from OOD groups of photos.

    Args:
        in_distribution: Logits, float32 (N, C), and folders, int64 (N,).
        ood: The same of OOD photos.
        temperature: Divisor of the logits.
        rule: The checkpoint's rule; without one there are no metrics.
    """
    if rule is None:
        return ()
    found = []
    for photos in _PHOTO_COUNTS:
        groups = [logits[_groups(folders, photos)] for logits, folders in (in_distribution, ood)]
        if not all(map(len, groups)):
            continue
        # Scores of the photos, (groups, photos).
        alone = [
            rule.scores(group.reshape(-1, group.shape[-1]), temperature).reshape(-1, photos)
            for group in groups
        ]
        found.append(
            MultiPhotoDetection(
                photos,
                auroc(*(scores.ravel() for scores in alone)),
                auroc(*(scores.mean(axis=1) for scores in alone)),
                auroc(*(rule.scores(group.mean(axis=1), temperature) for group in groups)),
                auroc(*(rule.combined_scores(group, temperature) for group in groups)),
            )
        )
    return tuple(found)


def folder_indices(folders: Sequence[str]) -> Indices:
    """Return a number for each photo that is the same for the photos of one folder."""
    indices: Indices = np.unique(np.asarray(folders), return_inverse=True)[1].astype(np.int64)
    return indices


def _metrics(
    logits: Array,
    members: Indices,
    targets: Indices | None,
    temperature: float,
    rule: OodRule | None,
) -> MultiPhotoMetrics:
    groups, singles = logits[members], logits[members.ravel()]
    group_targets = None if targets is None else targets[members[:, 0]]
    single_targets = None if targets is None else targets[members.ravel()]
    return MultiPhotoMetrics(
        photos=members.shape[1],
        groups=len(members),
        alone_top1=_top1(singles, single_targets),
        combined_top1=_top1(groups.mean(axis=1), group_targets),
        alone=compute_group_verdict_metrics(singles[:, None], single_targets, temperature, rule),
        combined=compute_group_verdict_metrics(groups, group_targets, temperature, rule),
    )


def _groups(folders: Indices, photos: int) -> Indices:
    """Return random groups of photos from one folder, (groups, photos).

    Each round leaves out the photos of a folder that are too few for another group.
    """
    generator = np.random.default_rng(_SEED)
    groups = [np.empty((0, photos), np.int64)]
    for _ in range(_ROUNDS):
        order = generator.permutation(len(folders))
        for folder in np.unique(folders):
            own = order[folders[order] == folder]
            groups.append(own[: len(own) // photos * photos].reshape(-1, photos))
    return np.concatenate(groups)


def _top1(logits: Array, targets: Indices | None) -> float | None:
    return None if targets is None else float((logits.argmax(axis=1) == targets).mean())
