"""Temperature scaling and the OOD threshold.

One temperature for all classes (Guo et al. 2017, "On Calibration of Modern Neural Networks")
minimizes the cross-entropy. It does not change the ranking of the classes. The threshold accepts a
given fraction of photos of the classes, the target TPR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn import functional

from model.backbones import add_to_logits
from model.backends.base import Array
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import Metadata
from model.evaluation.metrics import ClassificationMetrics, compute_metrics
from model.evaluation.ood_metrics import flagged_ood
from model.ood import OodRule, ood_scores
from model.training.logit_adjustment import LogitAdjustment

DEFAULT_TARGET_TPR: Final = 0.95
DEFAULT_SCORE: Final = "contrast"
_RANGE: Final = (math.log(0.05), math.log(20.0))  # of the logarithm of the temperature
_FOLDS: Final = 5


@dataclass(frozen=True)
class Calibration:
    """Calibration of a network on photos that it was not trained on.

    Attributes:
        temperature: Divisor of the logits.
        ood_rule: Score and threshold that flag a photo as OOD.
        measures: Metrics of these photos, each with a temperature fitted without it.
    """

    temperature: float
    ood_rule: OodRule
    measures: ClassificationMetrics


def calibrate(
    logits: torch.Tensor,
    targets: torch.Tensor,
    classes: Sequence[FlowerClass],
    score: str = DEFAULT_SCORE,
    target_tpr: float = DEFAULT_TARGET_TPR,
    logit_adjustment: Sequence[float] = (),
    class_mean_shrinkage: float = math.inf,
) -> Calibration:
    """Fit the temperature and the OOD rule.

    Args:
        logits: float32 (N, classes), of photos that the network was not trained on.
        targets: int64 (N,).
        classes: In index order.
        score: A key of `model.ood.SCORES`.
        target_tpr: Fraction of the photos that the rule accepts, in (0, 1).
        logit_adjustment: Values to subtract from the logits before scoring, (classes,) or empty.
        class_mean_shrinkage: See `class_means`, which are subtracted too unless this is infinite.
    """
    temperature = fit_temperature(logits, targets)
    if math.isfinite(class_mean_shrinkage):
        adjustment = torch.tensor(logit_adjustment or [0.0] * len(classes))
        means = class_means(logits - adjustment, targets, class_mean_shrinkage)
        logit_adjustment = (adjustment + means).tolist()
    return Calibration(
        temperature,
        fit_ood_rule(score, logits.numpy(), temperature, target_tpr, logit_adjustment),
        compute_metrics(
            cross_fitted(logits, targets), targets, [item.class_id for item in classes]
        ),
    )


def fit_ood_rule(
    score: str,
    logits: Array,
    temperature: float,
    target_tpr: float = DEFAULT_TARGET_TPR,
    logit_adjustment: Sequence[float] = (),
) -> OodRule:
    """Fit the threshold that accepts a fraction of photos of the classes.

    Args:
        score: A key of `model.ood.SCORES`.
        logits: float32 (N, classes), preferably of photos that the network was not trained on.
        temperature: Divisor of the logits.
        target_tpr: Fraction of the photos to accept, in (0, 1).
        logit_adjustment: See `OodRule`.
    """
    scores = ood_scores(score, logits, temperature, logit_adjustment)
    return OodRule(score, float(np.quantile(scores, 1 - target_tpr)), tuple(logit_adjustment))


def class_means(logits: torch.Tensor, targets: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Return the mean true-class logit of each class, relative to all photos.

    Classes with varied photos have lower logits, so one threshold for all classes flags more of
    their photos. Subtracting the class means corrects this (Jung et al. 2021, "Standardized max
    logits"). Means of classes with few photos are shrunk toward the overall mean.

    Args:
        logits: float32 (N, classes), of photos that the network was not trained on.
        targets: int64 (N,).
        shrinkage: Number of virtual photos at the overall mean, 0 or more, added to each class. A
            class without photos gets 0.

    Returns:
        float32 (classes,).
    """
    own = logits.gather(1, targets[:, None]).squeeze(1)
    own = own - own.mean()
    counts = torch.bincount(targets, minlength=logits.shape[1])
    sums = torch.zeros(logits.shape[1]).index_add(0, targets, own)
    return torch.where(counts > 0, sums / (counts + shrinkage), 0.0)


def calibrate_checkpoint(
    network: nn.Module,
    metadata: Metadata,
    split: str,
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    score: str = DEFAULT_SCORE,
    target_tpr: float = DEFAULT_TARGET_TPR,
    logit_adjustment: LogitAdjustment | None = None,
    class_mean_shrinkage: float = math.inf,
) -> Metadata:
    """Adjust the network's logits in place and return the metadata of the new calibration.

    Args:
        network: The checkpoint's network; its head's bias takes the logit adjustment.
        metadata: The checkpoint's metadata. Earlier adjustments of its OOD rule are kept.
        split: Name of the photos in the metrics.
        logits: The unchanged network's logits of these photos, float32 (N, classes).
        targets: int64 (N,).
        score: A key of `model.ood.SCORES`.
        target_tpr: Fraction of the photos that the rule accepts, in (0, 1).
        logit_adjustment: Adjustment to add to the logits, if any.
        class_mean_shrinkage: See `class_means`; infinite to leave them in the score.

    Raises:
        PhotoFolderError: The folder of the adjustment is missing or has other classes.
        BackboneError: The head has no bias to adjust.
    """
    earlier = metadata.ood_rule.logit_adjustment if metadata.ood_rule else ()
    total = torch.tensor(earlier or [0.0] * len(metadata.classes))
    training = dict(metadata.training)
    if logit_adjustment is not None:
        values = logit_adjustment.values(metadata.classes)
        add_to_logits(network, values)
        logits, total = logits + values, total + values
        training["logit_adjustment"] = str(logit_adjustment)
    if math.isfinite(class_mean_shrinkage):
        training["class_mean_shrinkage"] = class_mean_shrinkage
    calibration = calibrate(
        logits,
        targets,
        metadata.classes,
        score,
        target_tpr,
        total.tolist() if total.any() else (),
        class_mean_shrinkage,
    )
    return replace(
        metadata,
        temperature=calibration.temperature,
        ood_rule=calibration.ood_rule,
        training=training,
        metrics={**metadata.metrics, split: calibration.measures.summary()},
    )


def recalibrated(
    metadata: Metadata,
    split: str,
    targets: torch.Tensor,
    before: torch.Tensor,
    after: torch.Tensor,
) -> Metadata:
    """Refit the calibration after a small change of the network, such as quantization.

    The score and the fraction of accepted photos stay. Metrics of other photos are dropped, because
    they belong to the old logits.

    Args:
        metadata: Metadata of the network before the change.
        split: Name of the photos in the metrics.
        targets: int64 (N,).
        before: Logits of these photos before the change, float32 (N, classes).
        after: Logits after the change, float32 (N, classes).
    """
    rule = metadata.ood_rule
    unknown = flagged_ood(before.numpy(), metadata.temperature, rule)
    calibrated = calibrate(
        after,
        targets,
        metadata.classes,
        DEFAULT_SCORE if rule is None else rule.score,
        DEFAULT_TARGET_TPR if unknown is None else 1 - unknown,
        () if rule is None else rule.logit_adjustment,
    )
    return replace(
        metadata,
        temperature=calibrated.temperature,
        ood_rule=None if rule is None else calibrated.ood_rule,
        metrics={split: calibrated.measures.summary()},
    )


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the temperature in [0.05, 20] that minimizes the cross-entropy.

    Args:
        logits: float32 (N, classes), of photos that the network was not trained on.
        targets: int64 (N,).
    """

    def cross_entropy(logarithm: float) -> float:
        return float(functional.cross_entropy(logits / math.exp(logarithm), targets))

    return math.exp(float(minimize_scalar(cross_entropy, bounds=_RANGE, method="bounded").x))


def cross_fitted(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Divide each photo's logits by a temperature fitted without it.

    Metrics of the result are unbiased, because no photo influences its own temperature. Every fifth
    photo is one fold.

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
        rest = ~inside if not bool(inside.all()) else inside  # a single photo
        scaled[inside] /= fit_temperature(logits[rest], targets[rest])
    return scaled
