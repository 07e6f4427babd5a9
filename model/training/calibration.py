"""The temperature that makes probabilities mean what they say.

    logits and targets of photos not trained on -> the temperature of the least cross-entropy

One number for all classes, as in Guo et al., "On Calibration of Modern Neural Networks", 2017. It
moves no answer to another rank.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

_RANGE: Final = (math.log(0.05), math.log(20.0))  # of the temperature's logarithm
_FOLDS: Final = 5


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the temperature, in [0.05, 20], at which the cross-entropy is least.

    Args:
        logits: float32 (N, classes), of photos that the network was not trained on.
        targets: int64 (N,).
    """

    def cross_entropy(logarithm: float) -> float:
        return float(functional.cross_entropy(logits / math.exp(logarithm), targets))

    return math.exp(float(minimize_scalar(cross_entropy, bounds=_RANGE, method="bounded").x))


def cross_fitted(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Divide each photo's logits by a temperature fitted without it.

    What is measured on the result, calibration above all, does not flatter: no photo had a say in
    its own temperature. Every fifth photo is one fold.

    Args:
        logits: float32 (N, classes).
        targets: int64 (N,).

    Returns:
        float32 (N, classes), in the same order.
    """
    folds = min(_FOLDS, len(targets))
    fold = torch.arange(len(targets)) % folds
    scaled = logits.clone()
    for number in range(folds):
        inside = fold == number
        rest = ~inside if not bool(inside.all()) else inside  # one photo alone has no others
        scaled[inside] /= fit_temperature(logits[rest], targets[rest])
    return scaled
