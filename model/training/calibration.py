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

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from model.backends.base import Array
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import Metadata
from model.evaluation.metrics import ClassificationMetrics, measure
from model.evaluation.ood_metrics import called_unknown
from model.ood import OodRule, ood_scores

DEFAULT_ACCEPTED: Final = 0.95  # of the photos that a rule is fitted on
DEFAULT_SCORE: Final = "contrast"
_RANGE: Final = (math.log(0.05), math.log(20.0))  # of the temperature's logarithm
_FOLDS: Final = 5


@dataclass(frozen=True)
class Calibration:
    """What photos that were not trained on say about a network.

    Attributes:
        temperature: What its logits are to be divided by.
        ood_rule: By which a photo may be of none of the classes.
        measures: Of these photos, each with a temperature fitted without it.
    """

    temperature: float
    ood_rule: OodRule
    measures: ClassificationMetrics


def calibrate(
    logits: torch.Tensor,
    targets: torch.Tensor,
    classes: Sequence[FlowerClass],
    score: str = DEFAULT_SCORE,
    accepted: float = DEFAULT_ACCEPTED,
    logit_adjustment: Sequence[float] = (),
    level_prior: float = math.inf,
) -> Calibration:
    """Fit temperature and rule.

    Args:
        logits: float32 (N, classes), of photos that the network was not trained on.
        targets: int64 (N,).
        classes: In index order.
        score: A key of `known.SCORES`.
        accepted: Share of the photos that the rule is to accept, in (0, 1).
        logit_adjustment: What the logits hold that the rule is not to count, (classes,) or empty.
        level_prior: The rule is not to count how high a class's logit usually is either; see
            `class_levels`. Infinity has it count.
    """
    temperature = fit_temperature(logits, targets)
    if math.isfinite(level_prior):
        held = torch.tensor(logit_adjustment or [0.0] * len(classes))
        logit_adjustment = (held + class_levels(logits - held, targets, level_prior)).tolist()
    return Calibration(
        temperature,
        fit_ood_rule(score, logits.numpy(), temperature, accepted, logit_adjustment),
        measure(cross_fitted(logits, targets), targets, [item.class_id for item in classes]),
    )


def fit_ood_rule(
    score: str,
    logits: Array,
    temperature: float,
    accepted: float = DEFAULT_ACCEPTED,
    logit_adjustment: Sequence[float] = (),
) -> OodRule:
    """Fit the threshold that accepts a share of photos which are of the classes.

    Args:
        score: A key of `SCORES`.
        logits: Of these photos, float32 (N, classes); best of photos that training did not see.
        temperature: What the logits are divided by.
        accepted: Share of them to accept, in (0, 1).
        logit_adjustment: See `OodRule`.
    """
    threshold = np.quantile(ood_scores(score, logits, temperature, logit_adjustment), 1 - accepted)
    return OodRule(score, float(threshold), tuple(logit_adjustment))


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
    rule = metadata.ood_rule
    unknown = called_unknown(before.numpy(), metadata.temperature, rule)
    calibrated = calibrate(
        after,
        targets,
        metadata.classes,
        DEFAULT_SCORE if rule is None else rule.score,
        DEFAULT_ACCEPTED if unknown is None else 1 - unknown,
        () if rule is None else rule.logit_adjustment,
    )
    return replace(
        metadata,
        temperature=calibrated.temperature,
        ood_rule=None if rule is None else calibrated.ood_rule,
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
