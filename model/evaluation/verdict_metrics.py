"""Metrics of the verdict: how often it is given, and how often it is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.backends.base import Array
from model.ood import OodRule, ood_scores, verdict

_TOP_K = 5


@dataclass(frozen=True)
class VerdictMetrics:
    """Verdicts on one set of photos or of groups of photos, and the truth about them.

    Attributes:
        n: Number of photos or groups.
        known: Fraction with the verdict "known", in [0, 1].
        unsure: Fraction with the verdict "unsure".
        unknown: Fraction with the verdict "unknown".
        known_top1: Top-1 accuracy on the "known" photos. This fraction and those below are None
            for OOD photos, or if no photo counts.
        unsure_top5: Top-5 accuracy on the "unsure" photos.
        correct_unknown: Fraction of the correctly classified photos with the verdict "unknown".
    """

    n: int
    known: float
    unsure: float
    unknown: float
    known_top1: float | None = None
    unsure_top5: float | None = None
    correct_unknown: float | None = None


def compute_verdict_metrics(
    logits: Array,
    targets: npt.NDArray[np.int64] | None,
    temperature: float,
    rule: OodRule | None,
) -> VerdictMetrics | None:
    """Compare the verdicts on a set of photos with the truth.

    Args:
        logits: float32 (N, classes).
        targets: int64 (N,), or None for OOD photos.
        temperature: Divisor of the logits.
        rule: The checkpoint's rule, if it has one.

    Returns:
        The metrics; None without a rule or without photos.
    """
    return compute_group_verdict_metrics(logits[:, None], targets, temperature, rule)


def compute_group_verdict_metrics(
    groups: Array,
    targets: npt.NDArray[np.int64] | None,
    temperature: float,
    rule: OodRule | None,
) -> VerdictMetrics | None:
    """Compare the verdicts on groups of photos of one plant with the truth.

    Args:
        groups: Logits, float32 (N, photos, classes).
        targets: int64 (N,), or None for OOD photos.
        temperature: Divisor of the logits.
        rule: The checkpoint's rule, if it has one.

    Returns:
        The metrics; None without a rule or without photos.
    """
    if rule is None or not len(groups):
        return None
    logits = groups.mean(axis=1)
    confidence = np.exp(ood_scores("probability", logits, temperature))
    scores = rule.combined_scores(groups, temperature)
    verdicts = np.array([verdict(rule, *pair) for pair in zip(scores, confidence, strict=True)])
    known, unsure, unknown = (verdicts == name for name in ("known", "unsure", "unknown"))
    fractions = VerdictMetrics(
        len(logits), float(known.mean()), float(unsure.mean()), float(unknown.mean())
    )
    if targets is None:
        return fractions
    correct = logits.argmax(axis=1) == targets
    top_k = np.argsort(-logits, axis=1, kind="stable")[:, :_TOP_K]
    among = (top_k == targets[:, None]).any(axis=1)
    return VerdictMetrics(
        fractions.n,
        fractions.known,
        fractions.unsure,
        fractions.unknown,
        _mean(correct[known]),
        _mean(among[unsure]),
        _mean(unknown[correct]),
    )


def _mean(values: npt.NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
