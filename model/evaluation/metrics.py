"""From logits and true classes to accuracy, calibration and confusion.

    logits N×C, targets N -> softmax(logits / temperature) -> confidence and class of each answer
                          -> Measures: top-1, top-5, per class, loss, calibration, confusion

Validation during training and `scripts/evaluate.py` both measure here, so their numbers compare.
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
_NORMAL_QUANTILE_95: Final = 1.959963984540054  # 97.5 % point: 2.5 % lie outside on either side
_BELOW_ONE: Final = 1.0 - 2.0**-24  # the largest float32 below 1


@dataclass(frozen=True)
class ClassMeasures:
    """How one class fared.

    Attributes:
        n: Number of photos of this class.
        accuracy: Fraction of them that were named rightly.
        taken_for: Id of the class that wrong answers named most often; None with no wrong answer.
        taken_for_n: How many wrong answers named it.
    """

    n: int
    accuracy: float
    taken_for: str | None
    taken_for_n: int


@dataclass(frozen=True)
class CalibrationBin:
    """The answers whose confidence lies in [lower, upper).

    Attributes:
        lower: Least confidence in this bin.
        upper: Confidence at which the next bin begins; the last bin also holds 1.
        n: Number of answers.
        confidence: Their mean confidence; 0 where there is none.
        accuracy: Fraction of them that were right; 0 where there is none.
    """

    lower: float
    upper: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ClassificationMetrics:
    """How well a network does on one set of photos; all fractions are in [0, 1].

    Attributes:
        n: Number of photos.
        top1: Fraction whose likeliest class is the true one.
        top1_interval: Its 95 % Wilson interval.
        top5: Fraction whose true class is among the five likeliest, or all where there are fewer.
        top5_interval: Its 95 % Wilson interval.
        mean_per_class: Mean of the accuracies of the classes that occur in the set.
        loss: Mean cross-entropy at the temperature, in nats.
        ece: Expected calibration error over `CALIBRATION_BINS` bins of equal width.
        confidence_right: Mean confidence of the right answers; None where there is none.
        confidence_wrong: Mean confidence of the wrong answers; None where there is none.
        per_class: A map from the id of each class that occurs to how it fared, in index order.
        bins: What the calibration error sums up, from confidence 0 to 1.
        confusion: int64 (C, C): row the true class, column the answer, value the count.
    """

    n: int
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    top5_interval: tuple[float, float]
    mean_per_class: float
    loss: float
    ece: float
    confidence_right: float | None
    confidence_wrong: float | None
    per_class: Mapping[str, ClassMeasures]
    bins: tuple[CalibrationBin, ...]
    confusion: torch.Tensor

    def summary(self) -> dict[str, float]:
        """Return the scalars, JSON-ready; a mean over no answers is left out."""
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
            "confidence_right": self.confidence_right,
            "confidence_wrong": self.confidence_wrong,
        }
        return {name: value for name, value in values.items() if value is not None}


def measure(
    logits: torch.Tensor,
    targets: torch.Tensor,
    class_ids: Sequence[str],
    temperature: float = 1.0,
) -> ClassificationMetrics:
    """Compare a network's answers with the truth.

    Args:
        logits: float32 (N, C) as the network gives them, N at least 1, on any device.
        targets: int64 (N,), the index of the true class of each row.
        class_ids: The C class ids in index order.
        temperature: What the logits are divided by before the softmax; above 0.

    Raises:
        ValueError: Shapes disagree, or there is no row.
    """
    count, classes = logits.shape
    if count == 0 or targets.shape != (count,) or len(class_ids) != classes:
        raise ValueError(
            f"logits {tuple(logits.shape)}, targets {tuple(targets.shape)} and {len(class_ids)} "
            "class ids do not belong together"
        )
    scaled, targets = logits.detach().cpu().float() / temperature, targets.cpu()
    # A confidence of exactly 1 would fall outside torchmetrics' last bin, into one of its own.
    probabilities = torch.softmax(scaled, dim=1).clamp(max=_BELOW_ONE)
    confidences, answers = probabilities.max(dim=1)
    right = answers == targets
    top_k = min(_TOP_K, classes)
    top5 = multiclass_accuracy(scaled, targets, classes, average="micro", top_k=top_k)
    ece = multiclass_calibration_error(probabilities, targets, classes, CALIBRATION_BINS, "l1")
    confusion = multiclass_confusion_matrix(answers, targets, classes).long()
    per_class = _per_class(confusion, class_ids)
    hits = int(right.sum())
    return ClassificationMetrics(
        n=count,
        top1=hits / count,
        top1_interval=wilson_interval(hits, count),
        top5=float(top5),
        top5_interval=wilson_interval(round(float(top5) * count), count),
        mean_per_class=sum(row.accuracy for row in per_class.values()) / len(per_class),
        loss=float(cross_entropy(scaled, targets)),
        ece=float(ece),
        confidence_right=_mean(confidences[right]),
        confidence_wrong=_mean(confidences[~right]),
        per_class=per_class,
        bins=_calibration_bins(confidences, right),
        confusion=confusion,
    )


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a fraction: where the true rate lies, as bounds in [0, 1].

    Unlike the usual ± 1.96 standard errors it holds near 0 and 1, where a good classifier's
    accuracy lies. E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22 (1927), 209–212.

    Args:
        successes: How often it went well, from 0 to `n`.
        n: How often it was tried, at least 1.
    """
    z2 = _NORMAL_QUANTILE_95**2
    centre = (successes + z2 / 2) / (n + z2)
    spread = math.sqrt(successes * (n - successes) / n + z2 / 4) * _NORMAL_QUANTILE_95 / (n + z2)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def _per_class(confusion: torch.Tensor, class_ids: Sequence[str]) -> dict[str, ClassMeasures]:
    """Read each class's row; classes that do not occur in the set are left out.

    Torchmetrics' macro average would count them as 0 as soon as one answer names them.
    """
    per_class = {}
    for index, class_id in enumerate(class_ids):
        row = confusion[index].clone()
        n, hits = int(row.sum()), int(row[index])
        if n == 0:
            continue
        row[index] = 0
        wrong, taken_for = int(row.max()), class_ids[int(row.argmax())]
        per_class[class_id] = ClassMeasures(n, hits / n, taken_for if wrong else None, wrong)
    return per_class


def _calibration_bins(confidences: torch.Tensor, right: torch.Tensor) -> tuple[CalibrationBin, ...]:
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
                accuracy=_mean(right[inside].float()) or 0.0,
            )
        )
    return tuple(bins)


def _mean(values: torch.Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
