"""Metrics of a score that detects out-of-distribution (OOD) photos: AUROC and FPR@95TPR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.backends.base import Array


@dataclass(frozen=True)
class DetectionMetrics:
    """Separation of in-distribution from OOD photos by a score; in-distribution is positive.

    Attributes:
        auroc: Area under the ROC curve, in [0, 1].
        fpr95: Fraction of OOD photos accepted at a true positive rate of 95 % (FPR@95TPR).
    """

    auroc: float
    fpr95: float


def auroc(in_distribution: Array, ood: Array) -> float:
    """Return the area under the ROC curve of the scores of N and M photos."""
    ordered = np.sort(ood)
    below = np.searchsorted(ordered, in_distribution, side="left")
    not_above = np.searchsorted(ordered, in_distribution, side="right")
    return float((below + not_above).mean() / 2 / len(ood))


def detection_metrics(in_distribution: Array, ood: Array) -> DetectionMetrics:
    """Return AUROC and FPR@95TPR of the scores of in-distribution (N,) and OOD (M,) photos."""
    fpr95 = float((ood >= np.quantile(in_distribution, 0.05)).mean())
    return DetectionMetrics(auroc(in_distribution, ood), fpr95)
