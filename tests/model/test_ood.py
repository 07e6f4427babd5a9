"""OOD scores, thresholds and verdicts."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from model.evaluation.detection import detection_metrics
from model.ood import SCORES, OodRule, ood_scores, verdict
from model.training.calibration import CalibrationOptions, LabelledLogits, fit_ood_rule

LOGITS = np.random.default_rng(0).normal(scale=3, size=(200, 7)).astype(np.float32)
TEMPERATURE = 0.3


def all_correct(logits: npt.NDArray[np.float32]) -> LabelledLogits:
    """Label each photo with its top prediction."""
    tensor = torch.from_numpy(logits)
    return LabelledLogits("valid", tensor, tensor.argmax(dim=1))


def test_scores_match_their_definitions() -> None:
    scaled = LOGITS.astype(np.float64) / TEMPERATURE
    expected = {
        "probability": log_softmax(scaled, axis=1).max(axis=1),
        "max_logit": scaled.max(axis=1),
        "energy": logsumexp(scaled, axis=1),
        "contrast": scaled.max(axis=1) - scaled.mean(axis=1),
    }
    assert set(expected) == set(SCORES)
    for score, values in expected.items():
        got = ood_scores(score, LOGITS, TEMPERATURE)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("score", SCORES)
def test_extreme_logits_have_finite_scores(score: str) -> None:
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4]], dtype=np.float32)
    assert np.isfinite(ood_scores(score, logits, 0.1)).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("target_tpr", [0.5, 0.95, 0.999])
def test_the_threshold_reaches_its_target_tpr(score: str, target_tpr: float) -> None:
    rule = fit_ood_rule([all_correct(LOGITS)], TEMPERATURE, CalibrationOptions(score, target_tpr))
    share = (rule.scores(LOGITS, TEMPERATURE) >= rule.threshold).mean()
    assert share == pytest.approx(target_tpr, abs=0.006)


def test_logit_adjustment_does_not_change_the_ood_score() -> None:
    logit_adjustment = np.linspace(-3, 0, LOGITS.shape[1], dtype=np.float32)
    options = CalibrationOptions("max_logit")
    plain = fit_ood_rule([all_correct(LOGITS)], TEMPERATURE, options)
    adjusted = fit_ood_rule(
        [all_correct(LOGITS + logit_adjustment)],
        TEMPERATURE,
        options,
        logit_adjustment.tolist(),
    )
    assert adjusted.threshold == pytest.approx(plain.threshold, rel=1e-5)
    np.testing.assert_allclose(
        adjusted.scores(LOGITS + logit_adjustment, TEMPERATURE),
        plain.scores(LOGITS, TEMPERATURE),
        rtol=1e-5,
    )


@pytest.mark.parametrize("score", SCORES)
def test_one_photo_has_its_own_score_as_combined_score(score: str) -> None:
    rule = OodRule(score, 0.0, tuple(np.linspace(-1, 1, LOGITS.shape[1])))
    np.testing.assert_array_equal(
        rule.combined_scores(LOGITS[:, None], TEMPERATURE), rule.scores(LOGITS, TEMPERATURE)
    )
    twice = np.stack([LOGITS, LOGITS], axis=1)
    np.testing.assert_allclose(
        rule.combined_scores(twice, TEMPERATURE), rule.scores(LOGITS, TEMPERATURE), rtol=1e-5
    )


def test_photos_that_disagree_about_the_class_have_a_lower_combined_score() -> None:
    rule = OodRule("max_logit", 0.0)
    agree = np.array([[[6, 0, 0], [4, 0, 0]]], np.float32)
    disagree = np.array([[[6, 0, 0], [0, 4, 0]]], np.float32)
    # Both have the mean score 5; the mean logits score 5 and 3.
    assert rule.combined_scores(agree, 1.0).tolist() == [5]
    assert rule.combined_scores(disagree, 1.0).tolist() == [4]
    assert rule.combined_scores(disagree, 2.0).tolist() == [2]


@pytest.mark.parametrize(
    ("score", "probability", "expected"),
    [
        (2.0, 0.9, "known"),
        (2.0, 0.8, "known"),
        (2.0, 0.79, "unsure"),
        (1.9, 0.99, "unknown"),
        (1.9, 0.1, "unknown"),
    ],
)
def test_verdicts(score: float, probability: float, expected: str) -> None:
    assert verdict(OodRule("max_logit", 2.0, (), 0.8), score, probability) == expected


def test_without_a_rule_the_verdict_is_unchecked() -> None:
    assert verdict(None, 0.0, 0.99) == "unchecked"


def test_auroc_equals_the_fraction_of_ordered_pairs() -> None:
    generator = np.random.default_rng(1)
    in_distribution = generator.normal(1, 1, 300).round(1).astype(np.float32)  # rounded for ties
    ood = generator.normal(0, 1, 200).round(1).astype(np.float32)
    higher = (in_distribution[:, None] > ood) + 0.5 * (in_distribution[:, None] == ood)
    got = detection_metrics(in_distribution, ood)
    assert got.auroc == pytest.approx(higher.mean())
    assert got.fpr95 == pytest.approx((ood >= np.quantile(in_distribution, 0.05)).mean())


def test_disjoint_scores_are_perfectly_separated() -> None:
    low, high = (np.arange(start, start + 3, dtype=np.float32) for start in (0, 3))
    assert (detection_metrics(high, low).auroc, detection_metrics(high, low).fpr95) == (1, 0)
    assert (detection_metrics(low, high).auroc, detection_metrics(low, high).fpr95) == (0, 1)


@pytest.mark.parametrize(
    ("score", "threshold", "logit_adjustment"),
    [
        ("magic", 1.0, ()),
        ("energy", math.nan, ()),
        ("energy", math.inf, ()),
        ("energy", 1e300, ()),
        ("energy", 1.0, (0.0, math.nan)),
        ("energy", 1.0, (0.0, -1e300)),
    ],
)
def test_a_rule_out_of_range_is_refused(
    score: str, threshold: float, logit_adjustment: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the messages differ
        OodRule(score, threshold, logit_adjustment)
