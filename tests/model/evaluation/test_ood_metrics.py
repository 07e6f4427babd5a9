"""Metrics of OOD detection."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.ood_metrics import compute_ood_metrics, flagged_ood
from model.ood import SCORES, OodRule

IN_DISTRIBUTION = np.array([[8, 0, 0], [0, 6, 0], [0, 0, 4]], np.float32)
OOD = np.array([[5, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2]], np.float32)


def test_each_score_has_auroc_and_fpr95() -> None:
    metrics = compute_ood_metrics(IN_DISTRIBUTION, OOD, 1.0, None)
    assert (metrics.n, metrics.flagged_ood) == (4, None)
    assert list(metrics.scores) == list(SCORES)
    # Every score ranks 1 of the 12 pairs wrongly: logit 4 in-distribution, 5 OOD.
    for item in metrics.scores.values():
        assert item.auroc == pytest.approx(11 / 12)
        assert item.fpr95 == 0.25


def test_the_rule_is_applied_at_the_temperature() -> None:
    rule = OodRule("max_logit", 2.0)
    assert flagged_ood(OOD, 1.0, rule) == 0.5  # a score at the threshold is accepted
    assert flagged_ood(OOD, 2.0, rule) == 0.75
    assert compute_ood_metrics(IN_DISTRIBUTION, OOD, 2.0, rule).flagged_ood == 0.75
    assert flagged_ood(OOD, 1.0, None) is None
    assert flagged_ood(OOD[:0], 1.0, rule) is None
