"""How well photos of none of the classes are told from photos of one.

logits of known and of unknown photos -> each score of model.known -> AUROC, FPR95
                                      -> the checkpoint's own rule  -> share called unknown
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.known import SCORES, KnownRule, Separation, known_scores, separation
from model.network import Array


@dataclass(frozen=True)
class UnknownMeasures:
    """How photos of none of the classes fared.

    Attributes:
        n: Number of photos.
        called_unknown: Share of them that the checkpoint calls unknown; None without a rule.
        separations: A map from each score to how well it tells them from the known photos.
    """

    n: int
    called_unknown: float | None
    separations: Mapping[str, Separation]


def measure_unknown(
    known: Array, unknown: Array, temperature: float, rule: KnownRule | None
) -> UnknownMeasures:
    """Compare photos of none of the classes with photos of one.

    Args:
        known: Logits of photos of the classes, float32 (N, classes).
        unknown: Logits of photos of none, float32 (M, classes).
        temperature: What logits are divided by.
        rule: The checkpoint's.
    """
    offsets = () if rule is None else rule.offsets
    return UnknownMeasures(
        n=len(unknown),
        called_unknown=called_unknown(unknown, temperature, rule),
        separations={
            score: separation(
                known_scores(score, known, temperature, offsets),
                known_scores(score, unknown, temperature, offsets),
            )
            for score in SCORES
        },
    )


def called_unknown(logits: Array, temperature: float, rule: KnownRule | None) -> float | None:
    """Return the share of photos that a rule calls unknown, by their logits (N, classes).

    None without a rule, or without photos.
    """
    if rule is None or not len(logits):
        return None
    return float((rule.scores(logits, temperature) < rule.threshold).mean())
