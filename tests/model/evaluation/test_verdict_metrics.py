"""Metrics of the verdict."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.verdict_metrics import compute_verdict_metrics
from model.ood import OodRule

RULE = OodRule("max_logit", 2.0, (), 0.9)


def test_verdicts_are_compared_with_the_truth() -> None:
    logits = np.array(
        [
            [9, 0, 0, 0, 0, 0],  # known, correct
            [9, 0, 0, 0, 0, 0],  # known, wrong
            [0, 3, 2, 0, 0, 0],  # unsure, correct
            [0, 3, 2, 0, 0, -1],  # unsure, wrong, not in the top 5
            [0, 3, 2, 0, 0, 0],  # unsure, wrong, second
            [1, 0, 0, 0, 0, 0],  # unknown, correct
            [1, 0, 0, 0, 0, 0],  # unknown, wrong
            [0, 0, 1, 0, 0, 0],  # unknown, wrong
        ],
        np.float32,
    )
    targets = np.array([0, 1, 1, 5, 2, 0, 3, 3])
    metrics = compute_verdict_metrics(logits, targets, 1.0, RULE)
    assert metrics is not None
    assert (metrics.n, metrics.known, metrics.unsure, metrics.unknown) == (8, 2 / 8, 3 / 8, 3 / 8)
    assert metrics.known_top1 == 0.5
    assert metrics.unsure_top5 == pytest.approx(2 / 3)
    assert metrics.correct_unknown == pytest.approx(1 / 3)


def test_ood_photos_have_only_fractions() -> None:
    metrics = compute_verdict_metrics(np.array([[9, 0], [1, 0]], np.float32), None, 1.0, RULE)
    assert metrics is not None
    assert (metrics.known, metrics.unknown) == (0.5, 0.5)
    assert metrics.known_top1 is None
    assert metrics.correct_unknown is None


def test_a_verdict_without_photos_has_no_accuracy() -> None:
    metrics = compute_verdict_metrics(
        np.array([[9, 0]], np.float32), np.array([1]), 1.0, OodRule("max_logit", 20.0)
    )
    assert metrics is not None
    assert metrics.unknown == 1.0
    assert (metrics.known_top1, metrics.unsure_top5, metrics.correct_unknown) == (None,) * 3


def test_without_a_rule_or_photos_there_are_no_verdicts() -> None:
    logits = np.array([[9, 0]], np.float32)
    assert compute_verdict_metrics(logits, None, 1.0, None) is None
    assert compute_verdict_metrics(logits[:0], None, 1.0, RULE) is None
