"""How well photos of none of the classes are told from photos of one.

logits of known and of unknown photos -> each score of model.ood -> AUROC, FPR95
                                      -> the checkpoint's own rule  -> share called unknown
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.backends.base import Array
from model.ood import SCORES, OodRule, ood_scores


@dataclass(frozen=True)
class Separation:
    """How well a score tells photos of the classes from others.

    Attributes:
        auroc: Probability that one of the classes scores higher than another photo.
        fpr95: Share of other photos that are accepted where 95 % of the classes' are.
    """

    auroc: float
    fpr95: float


def separation(known: Array, unknown: Array) -> Separation:
    """Measure how well scores of known photos, (N,), stand above those of unknown ones, (M,)."""
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, side="left")
    not_above = np.searchsorted(ordered, known, side="right")
    auroc = (below + not_above).mean() / 2 / len(unknown)
    return Separation(float(auroc), float((unknown >= np.quantile(known, 0.05)).mean()))


@dataclass(frozen=True)
class OodMetrics:
    """How photos of none of the classes fared.

    Attributes:
        n: Number of photos.
        called_unknown: Share of them that the checkpoint calls unknown; None without a rule.
        separations: A map from each score to how well it tells them from the known photos.
    """

    n: int
    called_unknown: float | None
    separations: Mapping[str, Separation]


def measure_ood(
    known: Array, unknown: Array, temperature: float, rule: OodRule | None
) -> OodMetrics:
    """Compare photos of none of the classes with photos of one.

    Args:
        known: Logits of photos of the classes, float32 (N, classes).
        unknown: Logits of photos of none, float32 (M, classes).
        temperature: What logits are divided by.
        rule: The checkpoint's.
    """
    logit_adjustment = () if rule is None else rule.logit_adjustment
    return OodMetrics(
        n=len(unknown),
        called_unknown=called_unknown(unknown, temperature, rule),
        separations={
            score: separation(
                ood_scores(score, known, temperature, logit_adjustment),
                ood_scores(score, unknown, temperature, logit_adjustment),
            )
            for score in SCORES
        },
    )


def called_unknown(logits: Array, temperature: float, rule: OodRule | None) -> float | None:
    """Return the share of photos that a rule calls unknown, by their logits (N, classes).

    None without a rule, or without photos.
    """
    if rule is None or not len(logits):
        return None
    return float((rule.scores(logits, temperature) < rule.threshold).mean())
