"""How photos of none of the classes fare, by every score and by the checkpoint's rule."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.ood_metrics import called_unknown, measure_ood
from model.ood import SCORES, OodRule

KNOWN = np.array([[8, 0, 0], [0, 6, 0], [0, 0, 4]], np.float32)
UNKNOWN = np.array([[5, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2]], np.float32)


def test_each_score_tells_known_from_unknown_photos() -> None:
    measures = measure_ood(KNOWN, UNKNOWN, 1.0, None)
    assert (measures.n, measures.called_unknown) == (4, None)
    assert list(measures.separations) == list(SCORES)
    # Of twelve pairs one is the wrong way round, whichever score: 4 of the classes, and 5 of none.
    for item in measures.separations.values():
        assert item.auroc == pytest.approx(11 / 12)
        assert item.fpr95 == 0.25


def test_the_rule_is_used_at_the_temperature() -> None:
    rule = OodRule("max_logit", 2.0)
    assert called_unknown(UNKNOWN, 1.0, rule) == 0.5  # 2 is no less than the threshold
    assert called_unknown(UNKNOWN, 2.0, rule) == 0.75
    assert measure_ood(KNOWN, UNKNOWN, 2.0, rule).called_unknown == 0.75
    assert called_unknown(UNKNOWN, 1.0, None) is None
    assert called_unknown(UNKNOWN[:0], 1.0, rule) is None
