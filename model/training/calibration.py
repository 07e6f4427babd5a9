"""What makes probabilities mean what they say, and a verdict of a score.

    logits and targets of photos not trained on -> the temperature of the least cross-entropy
                                                -> the score that most of them reach

One temperature for all classes, as in Guo et al., "On Calibration of Modern Neural Networks",
2017. It moves no answer to another rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from model.known import DEFAULT_ACCEPTED, KnownRule, fit_known_rule
from model.labels import FlowerClass
from model.measures import Measures, measure
from model.metadata import Metadata
from model.unknown_measures import called_unknown

DEFAULT_SCORE: Final = "contrast"
_RANGE: Final = (math.log(0.05), math.log(20.0))  # of the temperature's logarithm
_FOLDS: Final = 5


@dataclass(frozen=True)
class Calibration:
    """What photos that were not trained on say about a network.

    Attributes:
        temperature: What its logits are to be divided by.
        known_rule: By which a photo may be of none of the classes.
        measures: Of these photos, each with a temperature fitted without it.
    """

    temperature: float
    known_rule: KnownRule
    measures: Measures


def calibrate(
    logits: torch.Tensor,
    targets: torch.Tensor,
    classes: Sequence[FlowerClass],
    score: str = DEFAULT_SCORE,
    accepted: float = DEFAULT_ACCEPTED,
    offsets: Sequence[float] = (),
    level_prior: float = math.inf,
) -> Calibration:
    """Fit temperature and rule.

    Args:
        logits: float32 (N, classes), of photos that the network was not trained on.
        targets: int64 (N,).
        classes: In index order.
        score: A key of `known.SCORES`.
        accepted: Share of the photos that the rule is to accept, in (0, 1).
        offsets: What the logits hold that the rule is not to count, (classes,) or empty.
        level_prior: The rule is not to count how high a class's logit usually is either; see
            `class_levels`. Infinity has it count.
    """
    temperature = fit_temperature(logits, targets)
    if math.isfinite(level_prior):
        held = torch.tensor(offsets or [0.0] * len(classes))
        offsets = (held + class_levels(logits - held, targets, level_prior)).tolist()
    return Calibration(
        temperature,
        fit_known_rule(score, logits.numpy(), temperature, accepted, offsets),
        measure(cross_fitted(logits, targets), targets, [item.class_id for item in classes]),
    )


def class_levels(logits: torch.Tensor, targets: torch.Tensor, prior: float) -> torch.Tensor:
    """Return how far each class's own logit usually stands above the average class's.

    A class whose photos differ much has lower logits: by one threshold for all, more of its photos
    would count as unknown, and fewer of those that are wrongly taken for a class of high ones. This
    is the mean of Jung et al. 2021, "Standardized max logits: a simple yet effective approach for
    identifying unexpected road obstacles in urban-scene segmentation", drawn to the mean of all
    where a class has few photos.

    Args:
        logits: float32 (N, classes), of photos that the network was not trained on.
        targets: int64 (N,).
        prior: Number of photos, 0 or more, that stand for the mean of all: a class of as many gets
            half of its own mean, and half of that. A class without photos gets 0.

    Returns:
        float32 (classes,).
    """
    own = logits.gather(1, targets[:, None]).squeeze(1)
    own = own - own.mean()
    counts = torch.bincount(targets, minlength=logits.shape[1])
    sums = torch.zeros(logits.shape[1]).index_add(0, targets, own)
    return torch.where(counts > 0, sums / (counts + prior), 0.0)


def recalibrated(
    metadata: Metadata,
    split: str,
    targets: torch.Tensor,
    before: torch.Tensor,
    after: torch.Tensor,
) -> Metadata:
    """Fit anew what was fitted to a network's logits, where these have moved a little.

    The score stays, and as many of the photos count as known as did, whatever share was asked for
    when the rule was fitted. Measures of other photos are dropped: they were of the old logits.

    Args:
        metadata: Of the network as it was.
        split: The name of the photos.
        targets: int64 (N,).
        before: The network's logits of these photos as it was, float32 (N, classes).
        after: Its logits as it is.
    """
    rule = metadata.known_rule
    unknown = called_unknown(before.numpy(), metadata.temperature, rule)
    calibrated = calibrate(
        after,
        targets,
        metadata.classes,
        DEFAULT_SCORE if rule is None else rule.score,
        DEFAULT_ACCEPTED if unknown is None else 1 - unknown,
        () if rule is None else rule.offsets,
    )
    return replace(
        metadata,
        temperature=calibrated.temperature,
        known_rule=None if rule is None else calibrated.known_rule,
        metrics={split: calibrated.measures.summary()},
    )


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
