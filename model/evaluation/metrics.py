"""Classification metrics: accuracy, calibration and confusion.

Training's validation and `scripts/evaluate.py` share them, so their numbers are comparable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

CALIBRATION_BINS: Final = 15
_TOP_K: Final = 5
_NORMAL_QUANTILE_975: Final = 1.959963984540054
_BELOW_ONE: Final = 1.0 - 2.0**-24  # the largest float32 below 1


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class.

    Attributes:
        n: Number of photos of the class.
        accuracy: Fraction of them classified correctly (recall).
        confused_with: Id of the class most often predicted instead; None without an error.
        confused_n: Number of photos for which it was predicted.
    """

    n: int
    accuracy: float
    confused_with: str | None
    confused_n: int


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions with a confidence in [lower, upper).

    Attributes:
        lower: Lower edge.
        upper: Upper edge; the last bin includes 1.
        n: Number of predictions.
        confidence: Their mean confidence; 0 in an empty bin.
        accuracy: Fraction of them that are correct; 0 in an empty bin.
    """

    lower: float
    upper: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ClassificationMetrics:
    """Metrics on one set of photos; all fractions are in [0, 1].

    Attributes:
        n: Number of photos.
        top1: Top-1 accuracy.
        top1_interval: Its 95 % Wilson interval.
        top5: Top-5 accuracy; with fewer classes, of all of them.
        top5_interval: Its 95 % Wilson interval.
        mean_per_class: Mean of the accuracies of the classes in the set.
        loss: Mean cross-entropy after temperature scaling, in nats.
        ece: Expected calibration error with `CALIBRATION_BINS` bins of equal width.
        ece_by_chance: Mean ECE of perfectly calibrated predictions with the same confidences. Bins
            with few photos deviate by chance, so an ECE near this value shows no miscalibration.
        confidence_right: Mean confidence of the correct predictions; None without any.
        confidence_wrong: Mean confidence of the wrong predictions; None without any.
        per_class: Map from the id of each class in the set to its metrics, in index order.
        bins: The bins of `ece`, from confidence 0 to 1.
        confusion: int64 (C, C) counts; rows are true classes, columns predictions.
    """

    n: int
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    top5_interval: tuple[float, float]
    mean_per_class: float
    loss: float
    ece: float
    ece_by_chance: float
    confidence_right: float | None
    confidence_wrong: float | None
    per_class: Mapping[str, ClassMetrics]
    bins: tuple[CalibrationBin, ...]
    confusion: torch.Tensor

    def summary(self) -> dict[str, float]:
        """Return the scalars as JSON-ready values, without those that are None."""
        values = {
            "n": self.n,
            "top1": self.top1,
            "top1_low": self.top1_interval[0],
            "top1_high": self.top1_interval[1],
            "top5": self.top5,
            "top5_low": self.top5_interval[0],
            "top5_high": self.top5_interval[1],
            "mean_per_class": self.mean_per_class,
            "loss": self.loss,
            "ece": self.ece,
            "ece_by_chance": self.ece_by_chance,
            "confidence_right": self.confidence_right,
            "confidence_wrong": self.confidence_wrong,
        }
        return {name: value for name, value in values.items() if value is not None}


def compute_metrics(
    logits: torch.Tensor,
    targets: torch.Tensor,
    class_ids: Sequence[str],
    temperature: float = 1.0,
) -> ClassificationMetrics:
    """Compare predictions with true classes.

    Args:
        logits: float32 (N, C) on any device, N at least 1.
        targets: int64 (N,), indices of the true classes.
        class_ids: The C class ids in index order.
        temperature: Divisor of the logits before the softmax, above 0.

    Raises:
        ValueError: The shapes disagree, or N is 0.
    """
    count, classes = logits.shape
    if count == 0 or targets.shape != (count,) or len(class_ids) != classes:
        raise ValueError(
            f"shapes disagree: logits {tuple(logits.shape)}, targets {tuple(targets.shape)}, "
            f"{len(class_ids)} class ids"
        )
    scaled, targets = logits.detach().cpu().float() / temperature, targets.cpu()
    # torchmetrics puts a confidence of exactly 1 into a bin of its own, beyond the last.
    probabilities = torch.softmax(scaled, dim=1).clamp(max=_BELOW_ONE)
    confidences, predictions = probabilities.max(dim=1)
    correct = predictions == targets
    top_k = min(_TOP_K, classes)
    top5 = multiclass_accuracy(scaled, targets, classes, average="micro", top_k=top_k)
    ece = multiclass_calibration_error(probabilities, targets, classes, CALIBRATION_BINS, "l1")
    confusion = multiclass_confusion_matrix(predictions, targets, classes).long()
    per_class = _per_class(confusion, class_ids)
    hits = int(correct.sum())
    bins = _calibration_bins(confidences, correct)
    return ClassificationMetrics(
        n=count,
        top1=hits / count,
        top1_interval=wilson_interval(hits, count),
        top5=float(top5),
        top5_interval=wilson_interval(round(float(top5) * count), count),
        mean_per_class=sum(row.accuracy for row in per_class.values()) / len(per_class),
        loss=float(cross_entropy(scaled, targets)),
        ece=float(ece),
        ece_by_chance=_ece_by_chance(bins),
        confidence_right=_mean(confidences[correct]),
        confidence_wrong=_mean(confidences[~correct]),
        per_class=per_class,
        bins=bins,
        confusion=confusion,
    )


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a fraction, as bounds in [0, 1].

    Unlike ± 1.96 standard errors it holds near 0 and 1, where a good classifier's accuracy lies
    (Wilson 1927, "Probable inference, the law of succession, and statistical inference").

    Args:
        successes: Number of successes, from 0 to `n`.
        n: Number of trials, at least 1.
    """
    z2 = _NORMAL_QUANTILE_975**2
    centre = (successes + z2 / 2) / (n + z2)
    spread = math.sqrt(successes * (n - successes) / n + z2 / 4) * _NORMAL_QUANTILE_975 / (n + z2)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def _per_class(confusion: torch.Tensor, class_ids: Sequence[str]) -> dict[str, ClassMetrics]:
    """Return the metrics of the classes in the set.

    torchmetrics' macro average would count a class without photos as 0 once it is predicted.
    """
    per_class = {}
    for index, class_id in enumerate(class_ids):
        row = confusion[index].clone()
        n, hits = int(row.sum()), int(row[index])
        if n == 0:
            continue
        row[index] = 0
        confused_n, confused_with = int(row.max()), class_ids[int(row.argmax())]
        per_class[class_id] = ClassMetrics(
            n, hits / n, confused_with if confused_n else None, confused_n
        )
    return per_class


def _calibration_bins(
    confidences: torch.Tensor, correct: torch.Tensor
) -> tuple[CalibrationBin, ...]:
    edges = torch.linspace(0, 1, CALIBRATION_BINS + 1)
    bin_of = torch.bucketize(confidences, edges, right=True) - 1
    bins = []
    for index in range(CALIBRATION_BINS):
        inside = bin_of == index
        bins.append(
            CalibrationBin(
                lower=index / CALIBRATION_BINS,
                upper=(index + 1) / CALIBRATION_BINS,
                n=int(inside.sum()),
                confidence=_mean(confidences[inside]) or 0.0,
                accuracy=_mean(correct[inside].float()) or 0.0,
            )
        )
    return tuple(bins)


def _ece_by_chance(bins: Sequence[CalibrationBin]) -> float:
    """Return the mean ECE if each prediction is correct with the mean confidence of its bin."""
    photos = sum(item.n for item in bins)
    return sum(_mean_deviation(item.n, item.confidence) for item in bins) / photos


def _mean_deviation(n: int, p: float) -> float:
    """Return E|X - np| of a binomial variable X (de Moivre 1730, "Miscellanea Analytica").

    Args:
        n: Number of trials, 0 or more.
        p: Probability of success, in [0, 1).
    """
    if not n or not p:
        return 0.0
    above = math.floor(n * p) + 1
    log_choose = math.lgamma(n + 1) - math.lgamma(above + 1) - math.lgamma(n - above + 1)
    log_mass = log_choose + above * math.log(p) + (n - above) * math.log1p(-p)
    return 2 * above * (1 - p) * math.exp(log_mass)


def _mean(values: torch.Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
