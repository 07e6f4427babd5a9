"""Out-of-distribution (OOD) scores, the threshold rule and the verdict.

A network trained on 102 flowers assigns one of them to any photo. Its confidence and the size of
its logits indicate whether the photo shows one of these classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from model.backends.base import Array

Verdict = Literal["known", "unsure", "unknown", "unchecked"]

# More probable than all other classes together. Also used for files without a value.
DEFAULT_KNOWN_PROBABILITY: Final = 0.5
_MAX_VALUE: Final = 1e6


def _energy(scaled: Array) -> Array:
    """Return the negative free energy (Liu et al. 2020, "Energy-based out-of-distribution …")."""
    largest = scaled.max(axis=1)
    total: Array = largest + np.log(np.exp(scaled - largest[:, None]).sum(axis=1))
    return total


def _max_logit(scaled: Array) -> Array:
    """Return the largest logit (Hendrycks et al. 2022, "Scaling out-of-distribution …")."""
    largest: Array = scaled.max(axis=1)
    return largest


def _log_probability(scaled: Array) -> Array:
    """Return the log of the largest probability (Hendrycks and Gimpel 2017, "A baseline …")."""
    return _max_logit(scaled) - _energy(scaled)


def _contrast(scaled: Array) -> Array:
    """Return the largest logit minus the mean of all logits.

    A network trained with outlier exposure (Hendrycks et al. 2019) gives OOD photos nearly equal
    logits, at any level; the difference removes the level.
    """
    above: Array = scaled.max(axis=1) - scaled.mean(axis=1)
    return above


SCORES: Final[Mapping[str, Callable[[Array], Array]]] = {
    "probability": _log_probability,
    "max_logit": _max_logit,
    "energy": _energy,
    "contrast": _contrast,
}


@dataclass(frozen=True)
class OodRule:
    """The thresholds of the verdict.

    Attributes:
        score: A key of `SCORES`.
        threshold: Lowest OOD score of a photo that counts as one of the classes. A lower score
            gives the verdict "unknown".
        logit_adjustment: Per-class values subtracted from the logits before scoring: the
            logit adjustment and the class-mean shrinkage. Empty for none.
        known_probability: Lowest probability of the top prediction, in [0, 1], for the verdict
            "known"; "unsure" below.
    """

    score: str
    threshold: float
    logit_adjustment: tuple[float, ...] = ()
    known_probability: float = DEFAULT_KNOWN_PROBABILITY

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: There is no such score, or a number is out of range.
        """
        if self.score not in SCORES:
            raise ValueError(f"score must be one of {', '.join(SCORES)}")
        # NaN fails the comparison; larger numbers would overflow float32.
        if not all(abs(value) <= _MAX_VALUE for value in (self.threshold, *self.logit_adjustment)):
            raise ValueError(
                f"threshold and logit_adjustment must be numbers from {-_MAX_VALUE} to {_MAX_VALUE}"
            )
        if not 0 <= self.known_probability <= 1:
            raise ValueError(f"known_probability is {self.known_probability}; it must be 0 to 1")

    def scores(self, logits: Array, temperature: float) -> Array:
        """Return the OOD scores of photos.

        Args:
            logits: float32 (N, classes), not divided by the temperature.
            temperature: Divisor of the logits.

        Returns:
            float32 (N,).
        """
        return ood_scores(self.score, logits, temperature, self.logit_adjustment)

    def combined_scores(self, logits: Array, temperature: float) -> Array:
        """Return the OOD scores of groups of photos of one plant.

        The score is the mean of two: the mean score of the photos, which is high if each shows one
        of the classes, and the score of their mean logits, which is lower if the photos disagree
        about the class. For one photo both are the photo's score, so `threshold` applies to groups
        of any size (docs/accuracy.md, "Several photos of one plant").

        Args:
            logits: float32 (N, photos, classes), not divided by the temperature.
            temperature: Divisor of the logits.

        Returns:
            float32 (N,).
        """
        groups, photos, classes = logits.shape
        alone = self.scores(logits.reshape(-1, classes), temperature).reshape(groups, photos)
        if photos == 1:
            return alone[:, 0]
        together = self.scores(logits.mean(axis=1), temperature)
        combined: Array = (alone.mean(axis=1) + together) / 2
        return combined


def ood_scores(
    score: str, logits: Array, temperature: float, logit_adjustment: Sequence[float] = ()
) -> Array:
    """Return the OOD scores of photos.

    Args:
        score: A key of `SCORES`.
        logits: float32 (N, classes), not divided by the temperature.
        temperature: Divisor of the logits.
        logit_adjustment: Values to subtract from the logits first, (classes,) or empty.

    Returns:
        float32 (N,); higher looks more like one of the classes.
    """
    if logit_adjustment:
        logits = logits - np.array(logit_adjustment, np.float32)
    return SCORES[score](logits / np.float32(temperature))


def verdict(rule: OodRule | None, score: float, probability: float) -> Verdict:
    """Return the verdict on a photo.

    Args:
        rule: The checkpoint's rule, if it has one.
        score: OOD score of the photo; ignored without a rule.
        probability: Probability of the top prediction, in [0, 1].
    """
    if rule is None:
        return "unchecked"
    if score < rule.threshold:
        return "unknown"
    return "known" if probability >= rule.known_probability else "unsure"
