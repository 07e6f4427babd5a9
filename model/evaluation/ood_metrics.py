"""Metrics of out-of-distribution (OOD) detection: AUROC and FPR@95TPR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.backends.base import Array
from model.evaluation.verdict_metrics import VerdictMetrics, compute_verdict_metrics
from model.ood import SCORES, OodRule, ood_scores


@dataclass(frozen=True)
class DetectionMetrics:
    """Separation of in-distribution from OOD photos by a score; in-distribution is positive.

    Attributes:
        auroc: Area under the ROC curve, in [0, 1].
        fpr95: Fraction of OOD photos accepted at a true positive rate of 95 % (FPR@95TPR).
    """

    auroc: float
    fpr95: float


@dataclass(frozen=True)
class OodMetrics:
    """OOD detection on one set of OOD photos.

    Attributes:
        n: Number of OOD photos.
        verdicts: Verdicts on them; None without a rule.
        against: Map from the name of each in-distribution set to a map from each of
            `model.ood.SCORES` to its metrics.
    """

    n: int
    verdicts: VerdictMetrics | None
    against: Mapping[str, Mapping[str, DetectionMetrics]]


def detection_metrics(in_distribution: Array, ood: Array) -> DetectionMetrics:
    """Return AUROC and FPR@95TPR of the scores of in-distribution (N,) and OOD (M,) photos."""
    ordered = np.sort(ood)
    below = np.searchsorted(ordered, in_distribution, side="left")
    not_above = np.searchsorted(ordered, in_distribution, side="right")
    auroc = (below + not_above).mean() / 2 / len(ood)
    fpr95 = (ood >= np.quantile(in_distribution, 0.05)).mean()
    return DetectionMetrics(float(auroc), float(fpr95))


def compute_ood_metrics(
    in_distribution: Mapping[str, Array], ood: Array, temperature: float, rule: OodRule | None
) -> OodMetrics:
    """Compare OOD photos with sets of in-distribution ones.

    Args:
        in_distribution: Logits of each set by name, float32 (N, C).
        ood: Logits, float32 (M, C).
        temperature: Divisor of the logits.
        rule: The checkpoint's OOD rule, if it has one.
    """
    logit_adjustment = () if rule is None else rule.logit_adjustment

    def metrics(logits: Array, score: str) -> DetectionMetrics:
        return detection_metrics(
            ood_scores(score, logits, temperature, logit_adjustment),
            ood_scores(score, ood, temperature, logit_adjustment),
        )

    return OodMetrics(
        n=len(ood),
        verdicts=compute_verdict_metrics(ood, None, temperature, rule),
        against={
            name: {score: metrics(logits, score) for score in SCORES}
            for name, logits in in_distribution.items()
        },
    )
