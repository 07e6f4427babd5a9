"""Whether a photo shows one of the classes at all.

    logits, temperature -> score: higher for what looks like one of the classes
    score < threshold   -> "unknown"; likeliest class below a half -> "unsure"; else "known"

A network trained on 102 flowers gives one of their names to anything. How sure it is tells much of
whether the name can be right, and so does how large its logits are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Verdict = Literal["known", "unsure", "unknown"]

DEFAULT_ACCEPTED: Final = 0.95  # of the photos that a rule is fitted on
_SURE: Final = 0.5  # a name that is likelier than all others together


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
    """Return how far the largest logit stands above the mean of all.

    A network that was taught to be unsure of photos of none of the classes (outlier exposure,
    Hendrycks et al. 2019) gives them logits that are alike, at whatever level they lie.
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
class KnownRule:
    """By which score, from which value on, a photo counts as one of the classes.

    Attributes:
        score: A key of `SCORES`.
        threshold: The least score of a known photo.
        offsets: What each class's logit holds that is not to count here: what was added for the
            sake of their order, and how high it usually is. Empty where all counts.
    """

    score: str
    threshold: float
    offsets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: There is no such score, or threshold and offsets are not finite numbers.
        """
        if self.score not in SCORES:
            raise ValueError(f"score is {self.score!r}; it must be one of {', '.join(SCORES)}")
        if not all(map(math.isfinite, (self.threshold, *self.offsets))):
            raise ValueError("threshold and offsets must be finite numbers")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KnownRule:
        """Rebuild a rule from its values.

        Raises:
            KeyError, TypeError, ValueError: Values are missing or wrong.
        """
        offsets = values.get("offsets", ())  # rules of version 0.1 have none
        return cls(str(values["score"]), float(values["threshold"]), tuple(map(float, offsets)))

    def scores(self, logits: Array, temperature: float) -> Array:
        """Score photos by their logits, float32 (N, classes); return float32 (N,)."""
        return known_scores(self.score, logits, temperature, self.offsets)


def known_scores(
    score: str, logits: Array, temperature: float, offsets: Sequence[float] = ()
) -> Array:
    """Score photos by logits, float32 (N, classes), divided by the temperature; float32 (N,).

    Where there are `offsets`, (classes,), they are taken off the logits before.
    """
    if offsets:
        logits = logits - np.array(offsets, np.float32)
    return SCORES[score](logits / np.float32(temperature))


def fit_known_rule(
    score: str,
    logits: Array,
    temperature: float,
    accepted: float = DEFAULT_ACCEPTED,
    offsets: Sequence[float] = (),
) -> KnownRule:
    """Fit the threshold that accepts a share of photos which are of the classes.

    Args:
        score: A key of `SCORES`.
        logits: Of these photos, float32 (N, classes); best of photos that training did not see.
        temperature: What the logits are divided by.
        accepted: Share of them to accept, in (0, 1).
        offsets: See `KnownRule`.
    """
    threshold = np.quantile(known_scores(score, logits, temperature, offsets), 1 - accepted)
    return KnownRule(score, float(threshold), tuple(offsets))


def verdict(known: bool | None, probability: float) -> Verdict:
    """Put into a word whether a photo is known, and how likely its likeliest class is."""
    if known is False:
        return "unknown"
    return "known" if probability >= _SURE else "unsure"


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
