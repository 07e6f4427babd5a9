"""Metrics of OOD detection."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.ood_metrics import compute_ood_metrics
from model.ood import SCORES, OodRule

IN_DISTRIBUTION = np.array([[8, 0, 0], [0, 6, 0], [0, 0, 4]], np.float32)
OOD = np.array([[5, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2]], np.float32)


def test_each_score_has_auroc_and_fpr95_against_each_set() -> None:
    metrics = compute_ood_metrics({"garden": IN_DISTRIBUTION, "same": OOD}, OOD, 1.0, None)
    assert (metrics.n, metrics.verdicts) == (4, None)
    assert list(metrics.against) == ["garden", "same"]
    assert list(metrics.against["garden"]) == list(SCORES)
    # Every score misranks 1 of 12 pairs: logit 4 in-distribution, 5 OOD.
    for item in metrics.against["garden"].values():
        assert item.auroc == pytest.approx(11 / 12)
        assert item.fpr95 == 0.25
    assert metrics.against["same"]["energy"].auroc == 0.5


def test_the_rule_is_applied_at_the_temperature() -> None:
    rule = OodRule("max_logit", 2.0)
    for temperature, unknown in ((1.0, 0.5), (2.0, 0.75)):  # a score at the threshold is accepted
        verdicts = compute_ood_metrics({}, OOD, temperature, rule).verdicts
        assert verdicts is not None
        assert verdicts.unknown == unknown
