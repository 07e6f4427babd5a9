"""Accuracy with two photos of one plant instead of one.

The data sets do not identify plants, so pairs are of one class. Two photos of one plant are more
alike, which makes the real gain smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

_ROUNDS: Final = 20
_SEED: Final = 0


@dataclass(frozen=True)
class MultiPhotoMetrics:
    """Top-1 accuracy of the same photos, singly and in pairs.

    Attributes:
        single_top1: Fraction of the photos classified correctly.
        pair_top1: Fraction of the pairs classified correctly, over `_ROUNDS` random pairings.
    """

    single_top1: float
    pair_top1: float


def compute_multi_photo_metrics(
    logits: torch.Tensor, targets: torch.Tensor
) -> MultiPhotoMetrics | None:
    """Classify random pairs of photos of a class by the average of their logits.

    Each round drops one photo of a class with an odd number of them.

    Args:
        logits: float32 (N, C).
        targets: int64 (N,).

    Returns:
        The metrics, or None if no class has two photos.
    """
    generator = torch.Generator().manual_seed(_SEED)
    singles, pairs = [], []
    for _ in range(_ROUNDS):
        order = torch.randperm(len(targets), generator=generator)
        for index in targets.bincount().nonzero()[:, 0]:
            own = order[targets[order] == index]
            second = own[1::2]
            first = own[::2][: len(second)]
            averaged = (logits[first] + logits[second]) / 2
            pairs.append(averaged.argmax(dim=1) == index)
            singles.append(logits[torch.cat([first, second])].argmax(dim=1) == index)
    if not len(torch.cat(pairs)):
        return None
    return MultiPhotoMetrics(
        single_top1=float(torch.cat(singles).double().mean()),
        pair_top1=float(torch.cat(pairs).double().mean()),
    )
