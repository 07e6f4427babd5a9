"""Classification metrics."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from model.evaluation.metrics import CALIBRATION_BINS, compute_metrics, wilson_interval
from tests.conftest import TINY_CLASSES

CLASS_IDS = [item.class_id for item in TINY_CLASSES]  # 1, 10, 100, 2, 21, 5


def logits_for(predicted: list[int], classes: int = 6, height: float = 4.0) -> torch.Tensor:
    """Return logits whose top-1 classes are `predicted`."""
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float() * height


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_wilson_interval_matches_published_values(
    successes: int, n: int, low: float, high: float
) -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), 857–872, table I, method 3.
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [1, 29, 818])
def test_the_wilson_interval_stays_in_bounds_and_is_symmetric(n: int) -> None:
    low, high = wilson_interval(n, n)
    assert 0 < low < high <= 1
    assert high == pytest.approx(1)
    assert wilson_interval(0, n) == pytest.approx((0, 1 - low))


def test_top1_top5_and_their_intervals_count_photos() -> None:
    # The true class 4 is ranked first, second, fifth and last.
    rows = torch.tensor(
        [
            [0, 1, 2, 3, 9, 4],
            [0, 1, 2, 3, 8, 9],
            [0, 5, 4, 3, 1, 2],
            [1, 5, 4, 3, 0, 2],
        ],
        dtype=torch.float32,
    )
    result = compute_metrics(rows, torch.full((4,), 4), CLASS_IDS)
    assert (result.n, result.top1, result.top5) == (4, 0.25, 0.75)
    assert result.top1_interval == wilson_interval(1, 4)
    assert result.top5_interval == wilson_interval(3, 4)


def test_top5_of_three_classes_is_1() -> None:
    result = compute_metrics(
        logits_for([0, 1, 2], classes=3), torch.tensor([1, 2, 0]), ["1", "10", "2"]
    )
    assert (result.top1, result.top5) == (0, 1)


def test_mean_per_class_weights_classes_equally_and_skips_empty_ones() -> None:
    # Class 0: 3 of 4 correct; class 1: 0 of 1, predicted as class 5, which has no photos.
    result = compute_metrics(logits_for([0, 0, 0, 1, 5]), torch.tensor([0, 0, 0, 0, 1]), CLASS_IDS)
    assert result.mean_per_class == pytest.approx((0.75 + 0.0) / 2)
    assert list(result.per_class) == ["1", "10"]


def test_each_class_has_its_most_frequent_confusion() -> None:
    predicted, targets = [4, 3, 3, 2, 1, 1], [4, 4, 4, 4, 1, 1]
    result = compute_metrics(logits_for(predicted), torch.tensor(targets), CLASS_IDS)
    fire_lily = result.per_class["21"]
    assert (fire_lily.n, fire_lily.accuracy) == (4, 0.25)
    assert (fire_lily.confused_with, fire_lily.confused_n) == ("2", 2)
    thistle = result.per_class["10"]
    assert (thistle.accuracy, thistle.confused_with, thistle.confused_n) == (1, None, 0)


def test_rows_of_the_confusion_matrix_are_true_classes() -> None:
    result = compute_metrics(logits_for([4, 3, 3]), torch.tensor([4, 4, 1]), CLASS_IDS)
    expected = torch.zeros(6, 6, dtype=torch.int64)
    expected[4, 4] = expected[4, 3] = expected[1, 3] = 1
    assert result.confusion.dtype == torch.int64
    assert torch.equal(result.confusion, expected)


def test_the_loss_uses_the_temperature() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 6) * 3, torch.randint(0, 6, (50,))
    expected = float(cross_entropy(logits / 2.5, targets))
    assert compute_metrics(logits, targets, CLASS_IDS, 2.5).loss == pytest.approx(expected)
    assert compute_metrics(logits, targets, CLASS_IDS).loss != pytest.approx(expected)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    # Ten predictions with the same confidence p, seven of them correct.
    predicted, targets = [0] * 10, [0] * 7 + [1] * 3
    result = compute_metrics(logits_for(predicted, height=2.0), torch.tensor(targets), CLASS_IDS)
    p = math.exp(2) / (math.exp(2) + 5)
    assert result.ece == pytest.approx(abs(p - 0.7), abs=1e-6)
    assert result.confidence_right == pytest.approx(p)
    assert result.confidence_wrong == pytest.approx(p)


@pytest.mark.parametrize("n", [1, 10, 205])
def test_the_calibration_error_by_chance_is_the_mean_deviation_of_a_binomial(n: int) -> None:
    logits = logits_for([0] * n, height=2.0)
    result = compute_metrics(logits, torch.zeros(n, dtype=torch.int64), CLASS_IDS)
    p = math.exp(2) / (math.exp(2) + 5)
    mass = [math.comb(n, hits) * p**hits * (1 - p) ** (n - hits) for hits in range(n + 1)]
    expected = sum(weight * abs(hits / n - p) for hits, weight in enumerate(mass))
    assert result.ece_by_chance == pytest.approx(expected, rel=1e-6)


def test_calibrated_predictions_have_the_calibration_error_by_chance_on_average() -> None:
    torch.manual_seed(0)
    logits = torch.randn(200, 6) * 2
    draws = torch.multinomial(logits.softmax(dim=1), 100, replacement=True).T
    results = [compute_metrics(logits, targets, CLASS_IDS) for targets in draws]
    by_chance = results[0].ece_by_chance
    assert by_chance > 0.05
    mean = sum(result.ece for result in results) / len(results)
    assert mean == pytest.approx(by_chance, rel=0.05)


def test_predictions_that_are_certain_have_no_calibration_error_by_chance() -> None:
    targets = torch.tensor([0, 1])
    result = compute_metrics(logits_for([0, 1], height=1000.0), targets, CLASS_IDS)
    assert result.ece_by_chance == pytest.approx(0, abs=1e-6)


def test_the_gaps_of_the_bins_add_up_to_the_calibration_error() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(400, 6) * 3, torch.randint(0, 6, (400,))
    result = compute_metrics(logits, targets, CLASS_IDS, 1.5)
    assert len(result.bins) == CALIBRATION_BINS == 15
    assert sum(item.n for item in result.bins) == 400
    gaps = (item.n / 400 * abs(item.accuracy - item.confidence) for item in result.bins)
    assert sum(gaps) == pytest.approx(result.ece, abs=1e-5)
    for item in result.bins:
        assert item.n == 0 or item.lower <= item.confidence < item.upper


def test_a_confidence_of_1_is_in_the_last_bin() -> None:
    # Five wrong at 0.97 and five correct at exactly 1: in one bin, their gaps partly cancel.
    logits = torch.cat([logits_for([0] * 5, height=5.0), logits_for([0] * 5, height=1000.0)])
    result = compute_metrics(logits, torch.tensor([1] * 5 + [0] * 5), CLASS_IDS)
    assert result.bins[-1].n == 10
    p = math.exp(5) / (math.exp(5) + 5)
    assert result.ece == pytest.approx((p + 1) / 2 - 0.5, abs=1e-5)


def test_the_summary_omits_missing_values() -> None:
    result = compute_metrics(logits_for([0, 1]), torch.tensor([0, 1]), CLASS_IDS)
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["n"] == 2
    assert summary["top1"] == 1
    assert summary["top1_low"] == result.top1_interval[0]
    assert "confidence_right" in summary
    assert "confidence_wrong" not in summary


@pytest.mark.parametrize(
    ("logits", "targets", "class_ids"),
    [
        (torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64), CLASS_IDS),
        (torch.zeros(2, 6), torch.zeros(3, dtype=torch.int64), CLASS_IDS),
        (torch.zeros(2, 6), torch.zeros(2, dtype=torch.int64), CLASS_IDS[:5]),
    ],
)
def test_shapes_that_do_not_match_are_refused(
    logits: torch.Tensor, targets: torch.Tensor, class_ids: list[str]
) -> None:
    with pytest.raises(ValueError, match="logits"):
        compute_metrics(logits, targets, class_ids)
