"""What two photos of one plant give over one.

    logits of photos, their classes -> pairs of one class at random -> averaged logits -> top-1

Photos of one class stand for photos of one plant, which the data sets do not tell; those of one
plant are more alike, so that the gain there is less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

_ROUNDS: Final = 20
_SEED: Final = 0


@dataclass(frozen=True)
class MultiPhotoMetrics:
    """Top-1 of the same photos, alone and by twos.

    Attributes:
        alone: Share of them that are named rightly.
        paired: Share of pairs that are, over many ways to pair the photos.
    """

    alone: float
    paired: float


def measure_multi_photo(logits: torch.Tensor, targets: torch.Tensor) -> MultiPhotoMetrics | None:
    """Pair photos of the same class, and name each pair by the average of their logits.

    Of an odd number, one photo is left out in each round. None where no class has two photos.

    Args:
        logits: float32 (N, classes).
        targets: int64 (N,).
    """
    generator = torch.Generator().manual_seed(_SEED)
    alone, paired = [], []
    for _ in range(_ROUNDS):
        order = torch.randperm(len(targets), generator=generator)
        for index in targets.bincount().nonzero()[:, 0]:
            own = order[targets[order] == index]
            second = own[1::2]
            first = own[::2][: len(second)]
            both = (logits[first] + logits[second]) / 2
            paired.append(both.argmax(dim=1) == index)
            alone.append(logits[torch.cat([first, second])].argmax(dim=1) == index)
    if not len(torch.cat(paired)):
        return None
    return MultiPhotoMetrics(
        float(torch.cat(alone).double().mean()), float(torch.cat(paired).double().mean())
    )
