"""Temperature, OOD threshold and class means."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import Architecture, Metadata
from model.evaluation.metrics import compute_metrics
from model.evaluation.verdict_metrics import compute_verdict_metrics
from model.imaging.transforms import EvaluationTransform
from model.ood import OodRule
from model.training.calibration import (
    CalibrationOptions,
    LabelledLogits,
    calibrate,
    class_means,
    cross_fitted,
    fit_ood_rule,
    fit_temperature,
    recalibrated,
)


def drawn(temperature: float, count: int = 4000, seed: int = 0) -> LabelledLogits:
    """Draw logits, and targets from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 10, generator=generator)
    probabilities = torch.softmax(logits / temperature, dim=-1)
    targets = torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
    return LabelledLogits("valid", logits, targets)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_true_temperature_is_found(temperature: float) -> None:
    assert fit_temperature([drawn(temperature)]) == pytest.approx(temperature, rel=0.07)


def test_scaling_calibrates_and_keeps_the_ranking() -> None:
    item = drawn(2.5)
    class_ids = [str(index) for index in range(10)]
    (scaled,) = cross_fitted([item])
    before, after = (compute_metrics(one, item.targets, class_ids) for one in (item.logits, scaled))
    assert after.ece < 0.03 < 0.2 < before.ece
    assert torch.equal(scaled.argmax(dim=1), item.logits.argmax(dim=1))


def test_each_set_has_the_same_weight() -> None:
    large, small = drawn(0.5, count=3000), drawn(2.0, count=300, seed=1)
    temperature = fit_temperature([large, small])
    assert fit_temperature([large]) < temperature < fit_temperature([small])
    assert fit_temperature([large, small, small]) > temperature
    assert fit_temperature([_twice(large), small]) == pytest.approx(temperature, rel=1e-3)


def test_a_photo_does_not_influence_its_own_temperature() -> None:
    item = drawn(1.0, count=50)
    changed = item.targets.clone()
    changed[7] = (changed[7] + 1) % 10
    (before,), (after,) = cross_fitted([item]), cross_fitted([replace(item, targets=changed)])
    same_fold = torch.arange(50) % 5 == 7 % 5
    assert torch.equal(before[same_fold], after[same_fold])
    assert not torch.equal(before[~same_fold], after[~same_fold])


def test_a_single_photo_can_be_cross_fitted() -> None:
    item = drawn(1.0, count=1)
    assert cross_fitted([item])[0].isfinite().all()
    assert 0.05 <= fit_temperature([item]) <= 20


def test_class_means_of_few_photos_shrink_toward_the_global_mean() -> None:
    # Class means of 9 and 1; the third class has no photos.
    logits = torch.tensor([[9.0, 0, 0]] * 6 + [[0, 1.0, 0]] * 2)
    targets = torch.tensor([0] * 6 + [1] * 2)
    assert class_means(logits, targets, 0).tolist() == [2.0, -6.0, 0.0]
    assert class_means(logits, targets, 2).tolist() == [1.5, -3.0, 0.0]


def test_class_means_are_subtracted_in_addition_to_the_adjustment() -> None:
    logits = torch.tensor([[9.0, 0], [0, 1.0]] * 10)
    targets = torch.tensor([0, 1] * 10)
    classes = [FlowerClass("1", "tall"), FlowerClass("2", "low")]
    item, adjustment = LabelledLogits("valid", logits, targets), torch.tensor([0.0, -0.5])
    options = CalibrationOptions("max_logit", class_mean_shrinkage=0)
    rule = calibrate([item], classes, options).ood_rule
    assert rule.logit_adjustment == (4.0, -4.0)
    assert rule.scores(logits.numpy(), 1.0).tolist() == [5.0] * 20
    changed = replace(item, logits=logits + adjustment)
    adjusted = calibrate([changed], classes, options, adjustment.tolist()).ood_rule
    assert adjusted.logit_adjustment == (4.0, -4.5)
    plain = calibrate([item], classes, CalibrationOptions("max_logit")).ood_rule
    assert plain.logit_adjustment == ()


def test_the_rule_reaches_its_targets_on_every_set() -> None:
    sets = [drawn(0.5, count=900), drawn(2.0, count=300, seed=1)]
    temperature = fit_temperature(sets)
    options = CalibrationOptions("max_logit", target_tpr=0.9, target_precision=0.8)
    rule = fit_ood_rule(sets, temperature, options)
    for item in sets:
        metrics = compute_verdict_metrics(
            item.logits.numpy(), item.targets.numpy(), temperature, rule
        )
        assert metrics is not None
        assert metrics.correct_unknown is not None
        assert metrics.known_top1 is not None
        assert metrics.correct_unknown <= 0.1
        assert metrics.known_top1 >= 0.8
    stricter = fit_ood_rule(sets, temperature, replace(options, target_precision=0.9))
    assert stricter.known_probability > rule.known_probability


def test_an_unreachable_precision_leaves_no_photo_known() -> None:
    wrong = LabelledLogits("valid", torch.tensor([[5.0, 0], [6.0, 0]]), torch.tensor([1, 1]))
    assert fit_ood_rule([wrong], 1.0).known_probability == 1.0


@pytest.mark.parametrize("score", ["max_logit", "contrast"])
def test_recalibration_keeps_the_fraction_of_known_photos(score: str) -> None:
    before = drawn(1.0, count=300)
    noise = torch.randn(300, 10, generator=torch.Generator().manual_seed(1))
    after = replace(before, logits=1.3 * before.logits + 0.2 * noise)
    classes = [FlowerClass(str(index), "a flower") for index in range(10)]
    rule = fit_ood_rule([before], 1.0, CalibrationOptions(score, 0.8))
    old = Metadata(
        Architecture("test_efficientnet", 10),
        tuple(classes),
        EvaluationTransform(32, 32, "bicubic", (0.5,) * 3, (0.5,) * 3),
        metrics={"test": {"top1": 1.0}},
        ood_rule=rule,
    )

    def unknown(item: LabelledLogits, temperature: float, chosen: OodRule) -> float:
        return float((chosen.scores(item.logits.numpy(), temperature) < chosen.threshold).mean())

    share = unknown(before, 1.0, rule)
    new = recalibrated(old, [before], [after])
    assert unknown(after, 1.0, rule) != pytest.approx(share, abs=0.01)
    assert new.ood_rule is not None
    assert (new.ood_rule.score, new.ood_rule.known_probability) == (score, rule.known_probability)
    assert unknown(after, new.temperature, new.ood_rule) == pytest.approx(share)
    assert new.temperature == pytest.approx(fit_temperature([after]))
    assert list(new.metrics) == ["valid"]
    assert recalibrated(replace(old, ood_rule=None), [before], [after]).ood_rule is None


def _twice(item: LabelledLogits) -> LabelledLogits:
    return LabelledLogits(item.name, item.logits.repeat(2, 1), item.targets.repeat(2))
