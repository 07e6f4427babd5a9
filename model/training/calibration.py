"""Temperature scaling and the thresholds of the verdict.

One temperature for all classes (Guo et al. 2017, "On Calibration of Modern Neural Networks")
minimizes the cross-entropy. It does not change the ranking of the classes. Photos for calibration
come in sets, such as Oxford's photos and everyday ones; each set counts the same, however large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn import functional

from model.backbones import add_to_logits
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import Metadata
from model.evaluation.metrics import ClassificationMetrics, compute_metrics
from model.ood import DEFAULT_KNOWN_PROBABILITY, OodRule, ood_scores
from model.training.logit_adjustment import LogitAdjustment

DEFAULT_TARGET_TPR: Final = 0.95
DEFAULT_TARGET_PRECISION: Final = 0.95
DEFAULT_SCORE: Final = "contrast"
_RANGE: Final = (math.log(0.05), math.log(20.0))  # of the logarithm of the temperature
_FOLDS: Final = 5


@dataclass(frozen=True)
class LabelledLogits:
    """Logits of a set of photos that the network was not trained on.

    Attributes:
        name: Name of the set in the metrics.
        logits: float32 (N, classes).
        targets: int64 (N,).
    """

    name: str
    logits: torch.Tensor
    targets: torch.Tensor

    @property
    def is_correct(self) -> torch.Tensor:
        """True for each correctly classified photo, bool (N,)."""
        return self.logits.argmax(dim=1) == self.targets


@dataclass(frozen=True)
class CalibrationOptions:
    """Choices of a calibration.

    Attributes:
        score: A key of `model.ood.SCORES`.
        target_tpr: Fraction of the correctly classified photos of each set that the OOD threshold
            accepts at least, in (0, 1).
        target_precision: Fraction of the photos of each set with the verdict "known" that is
            correctly classified at least, in (0, 1).
        class_mean_shrinkage: See `class_means`, which are subtracted from the logits before
            scoring unless this is infinite.
    """

    score: str = DEFAULT_SCORE
    target_tpr: float = DEFAULT_TARGET_TPR
    target_precision: float = DEFAULT_TARGET_PRECISION
    class_mean_shrinkage: float = math.inf


@dataclass(frozen=True)
class Calibration:
    """Calibration of a network on photos that it was not trained on.

    Attributes:
        temperature: Divisor of the logits.
        ood_rule: Thresholds of the verdict.
        metrics: Metrics of each set by name, with a temperature fitted without the photo.
    """

    temperature: float
    ood_rule: OodRule
    metrics: dict[str, ClassificationMetrics]


def calibrate(
    sets: Sequence[LabelledLogits],
    classes: Sequence[FlowerClass],
    options: CalibrationOptions = CalibrationOptions(),  # immutable
    logit_adjustment: Sequence[float] = (),
) -> Calibration:
    """Fit the temperature and the thresholds of the verdict.

    Args:
        sets: At least one. The first gives the class means.
        classes: In index order.
        options: Score and targets.
        logit_adjustment: Values to subtract from the logits before scoring, (classes,) or empty.
    """
    temperature = fit_temperature(sets)
    if math.isfinite(options.class_mean_shrinkage):
        adjustment = torch.tensor(logit_adjustment or [0.0] * len(classes))
        first = sets[0]
        means = class_means(first.logits - adjustment, first.targets, options.class_mean_shrinkage)
        logit_adjustment = (adjustment + means).tolist()
    return Calibration(
        temperature,
        fit_ood_rule(sets, temperature, options, logit_adjustment),
        _cross_fitted_metrics(sets, classes),
    )


def fit_ood_rule(
    sets: Sequence[LabelledLogits],
    temperature: float,
    options: CalibrationOptions = CalibrationOptions(),  # immutable
    logit_adjustment: Sequence[float] = (),
) -> OodRule:
    """Fit both thresholds so that every set reaches the targets.

    Args:
        sets: At least one.
        temperature: Divisor of the logits.
        options: Score and targets.
        logit_adjustment: See `OodRule`.
    """
    thresholds = []
    for item in sets:
        scores = ood_scores(options.score, item.logits.numpy(), temperature, logit_adjustment)
        # Without a correct photo, as after a first epoch, all photos take their place.
        correct = scores[item.is_correct.numpy()] if item.is_correct.any() else scores
        thresholds.append(float(np.quantile(correct, 1 - options.target_tpr, method="lower")))
    rule = OodRule(options.score, min(thresholds), tuple(logit_adjustment))
    return replace(
        rule,
        known_probability=max(
            _least_known_probability(item, rule, temperature, options.target_precision)
            for item in sets
        ),
    )


def _least_known_probability(
    item: LabelledLogits, rule: OodRule, temperature: float, precision: float
) -> float:
    """Return the lowest probability from which the accepted photos reach the precision.

    It is at least `DEFAULT_KNOWN_PROBABILITY`, and 1 if the most probable photos do not reach it.
    """
    accepted = rule.scores(item.logits.numpy(), temperature) >= rule.threshold
    best = torch.softmax(item.logits.double() / temperature, dim=1).amax(dim=1).numpy()[accepted]
    order = np.argsort(-best, kind="stable")
    correct = item.is_correct.numpy()[accepted][order]
    reached = np.cumsum(correct) >= precision * np.arange(1, len(correct) + 1)
    if not reached.any():
        return 1.0
    lowest = float(best[order][np.flatnonzero(reached)[-1]])
    return max(DEFAULT_KNOWN_PROBABILITY, lowest)


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
    sets: Sequence[LabelledLogits],
    options: CalibrationOptions = CalibrationOptions(),  # immutable
    logit_adjustment: LogitAdjustment | None = None,
) -> Metadata:
    """Adjust the network's logits in place and return the metadata of the new calibration.

    Args:
        network: The checkpoint's network; its head's bias takes the logit adjustment.
        metadata: The checkpoint's metadata. Earlier adjustments of its OOD rule are kept.
        sets: Logits of the unchanged network; see `calibrate`.
        options: Score and targets.
        logit_adjustment: Adjustment to add to the logits, if any.

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
        sets = [replace(item, logits=item.logits + values) for item in sets]
        total = total + values
        training["logit_adjustment"] = str(logit_adjustment)
    if math.isfinite(options.class_mean_shrinkage):
        training["class_mean_shrinkage"] = options.class_mean_shrinkage
    training["calibration_data"] = [item.name for item in sets]
    calibration = calibrate(sets, metadata.classes, options, total.tolist() if total.any() else ())
    return replace(
        metadata,
        temperature=calibration.temperature,
        ood_rule=calibration.ood_rule,
        training=training,
        metrics={
            **metadata.metrics,
            **{name: metrics.summary() for name, metrics in calibration.metrics.items()},
        },
    )


def recalibrated(
    metadata: Metadata, before: Sequence[LabelledLogits], after: Sequence[LabelledLogits]
) -> Metadata:
    """Refit the calibration after a small change of the network, such as quantization.

    The rule keeps its score, its fraction of accepted photos and its least probability of the
    verdict "known". Metrics of other photos are dropped, because they belong to the old logits.

    Args:
        metadata: Metadata of the network before the change.
        before: Logits of some sets before the change.
        after: Logits of the same sets after it.
    """
    fitted = fit_temperature(after)
    rule = metadata.ood_rule
    if rule is not None:
        old, new = (
            [rule.scores(item.logits.numpy(), temperature) for item in sets]
            for sets, temperature in (
                (before, metadata.temperature),
                (after, fitted),
            )
        )
        flagged = float((np.concatenate(old) < rule.threshold).mean())
        rule = replace(rule, threshold=float(np.quantile(np.concatenate(new), flagged)))
    return replace(
        metadata,
        temperature=fitted,
        ood_rule=rule,
        metrics={
            name: metrics.summary()
            for name, metrics in _cross_fitted_metrics(after, metadata.classes).items()
        },
    )


def fit_temperature(sets: Sequence[LabelledLogits]) -> float:
    """Return the temperature in [0.05, 20] that minimizes the mean cross-entropy of the sets."""

    def cross_entropy(logarithm: float) -> float:
        divisor = math.exp(logarithm)
        losses = [functional.cross_entropy(item.logits / divisor, item.targets) for item in sets]
        return float(torch.stack(losses).mean())

    return math.exp(float(minimize_scalar(cross_entropy, bounds=_RANGE, method="bounded").x))


def cross_fitted(sets: Sequence[LabelledLogits]) -> list[torch.Tensor]:
    """Divide each photo's logits by a temperature fitted without it.

    Metrics of the result are unbiased, because no photo influences its own temperature. Every fifth
    photo of each set is one fold.

    Returns:
        float32 (N, classes) for each set, in the same order.
    """
    scaled = [item.logits.clone() for item in sets]
    for fitted, folds in folds_of(sets):
        temperature = fit_temperature(fitted)
        for logits, fold in zip(scaled, folds, strict=True):
            logits[fold] /= temperature
    return scaled


def folds_of(
    sets: Sequence[LabelledLogits],
) -> Iterator[tuple[Sequence[LabelledLogits], list[torch.Tensor]]]:
    """Yield the sets without a fold, and the mask of the fold in each set, bool (N,)."""
    for number in range(_FOLDS):
        folds = [torch.arange(len(item.targets)) % _FOLDS == number for item in sets]
        rest = [_part(item, ~fold) for item, fold in zip(sets, folds, strict=True)]
        # A set of a single photo has no rest.
        yield [item for item in rest if len(item.targets)] or sets, folds


def _part(item: LabelledLogits, chosen: torch.Tensor) -> LabelledLogits:
    return LabelledLogits(item.name, item.logits[chosen], item.targets[chosen])


def _cross_fitted_metrics(
    sets: Sequence[LabelledLogits], classes: Sequence[FlowerClass]
) -> dict[str, ClassificationMetrics]:
    class_ids = [item.class_id for item in classes]
    return {
        item.name: compute_metrics(scaled, item.targets, class_ids)
        for item, scaled in zip(sets, cross_fitted(sets), strict=True)
    }
