"""Metrics of one set of out-of-distribution (OOD) photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.backends.base import Array
from model.evaluation.detection import DetectionMetrics, detection_metrics
from model.evaluation.multi_photo import MultiPhotoDetection, MultiPhotoMetrics
from model.evaluation.verdict_metrics import VerdictMetrics, compute_verdict_metrics
from model.ood import SCORES, OodRule, ood_scores


@dataclass(frozen=True)
class OodMetrics:
    """OOD detection on one set of OOD photos.

    Attributes:
        n: Number of OOD photos.
        verdicts: Verdicts on them; None without a rule.
        against: Map from the name of each in-distribution set to a map from each of
            `model.ood.SCORES` to its metrics.
        multi_photo: Verdicts on groups of the photos.
        multi_photo_against: Map from the name of each in-distribution set to the detection with
            groups of photos.
    """

    n: int
    verdicts: VerdictMetrics | None
    against: Mapping[str, Mapping[str, DetectionMetrics]]
    multi_photo: tuple[MultiPhotoMetrics, ...] = ()
    multi_photo_against: Mapping[str, tuple[MultiPhotoDetection, ...]] = field(default_factory=dict)


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
