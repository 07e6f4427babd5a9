"""Temperature, OOD threshold and class means."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.checkpoint.architecture import Architecture
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import Metadata
from model.evaluation.metrics import compute_metrics
from model.evaluation.ood_metrics import flagged_ood
from model.imaging.transforms import EvaluationTransform
from model.training.calibration import (
    calibrate,
    class_means,
    cross_fitted,
    fit_ood_rule,
    fit_temperature,
    recalibrated,
)


def drawn(temperature: float, count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw targets from softmax(logits / temperature), so that this is the true temperature."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, 10, generator=generator)
    chances = torch.softmax(logits / temperature, dim=-1)
    return logits, torch.multinomial(chances, 1, generator=generator).squeeze(1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_true_temperature_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.07)


def test_it_mends_the_calibration_and_moves_no_answer() -> None:
    logits, targets = drawn(2.5)
    class_ids = [str(index) for index in range(10)]
    scaled = cross_fitted(logits, targets)
    before, after = (compute_metrics(one, targets, class_ids) for one in (logits, scaled))
    assert after.ece < 0.03 < 0.2 < before.ece
    assert torch.equal(scaled.argmax(dim=1), logits.argmax(dim=1))


def test_no_photo_has_a_say_in_its_own_temperature() -> None:
    logits, targets = drawn(1.0, count=50)
    changed = targets.clone()
    changed[7] = (changed[7] + 1) % 10
    before, after = cross_fitted(logits, targets), cross_fitted(logits, changed)
    same_fold = torch.arange(50) % 5 == 7 % 5
    assert torch.equal(before[same_fold], after[same_fold])
    assert not torch.equal(before[~same_fold], after[~same_fold])


def test_a_single_photo_is_enough_to_get_through() -> None:
    logits, targets = drawn(1.0, count=1)
    assert cross_fitted(logits, targets).isfinite().all()
    assert 0.05 <= fit_temperature(logits, targets) <= 20


def test_a_class_of_few_photos_keeps_near_the_level_of_all() -> None:
    # Own logits of 9 and 1; the third class has no photos.
    logits = torch.tensor([[9.0, 0, 0]] * 6 + [[0, 1.0, 0]] * 2)
    targets = torch.tensor([0] * 6 + [1] * 2)
    assert class_means(logits, targets, 0).tolist() == [2.0, -6.0, 0.0]
    assert class_means(logits, targets, 2).tolist() == [1.5, -3.0, 0.0]


def test_levels_come_off_beside_what_was_added() -> None:
    logits = torch.tensor([[9.0, 0], [0, 1.0]] * 10)
    targets = torch.tensor([0, 1] * 10)
    classes = [FlowerClass("1", "tall"), FlowerClass("2", "low")]
    added = torch.tensor([0.0, -0.5])
    rule = calibrate(logits, targets, classes, "max_logit", class_mean_shrinkage=0).ood_rule
    assert rule.logit_adjustment == (4.0, -4.0)
    assert rule.scores(logits.numpy(), 1.0).tolist() == [5.0] * 20
    moved = calibrate(
        logits + added,
        targets,
        classes,
        "max_logit",
        logit_adjustment=added.tolist(),
        class_mean_shrinkage=0,
    ).ood_rule
    assert moved.logit_adjustment == (4.0, -4.5)
    assert calibrate(logits, targets, classes, "max_logit").ood_rule.logit_adjustment == ()


@pytest.mark.parametrize("score", ["max_logit", "contrast"])
def test_as_many_photos_stay_known_where_logits_have_moved(score: str) -> None:
    before, targets = drawn(1.0, count=300)
    after = 1.3 * before + 0.2 * torch.randn(300, 10, generator=torch.Generator().manual_seed(1))
    classes = [FlowerClass(str(index), "a flower") for index in range(10)]
    rule = fit_ood_rule(score, before.numpy(), 1.0, 0.8)
    old = Metadata(
        Architecture("test_efficientnet", 10),
        tuple(classes),
        EvaluationTransform(32, 32, "bicubic", (0.5,) * 3, (0.5,) * 3),
        metrics={"test": {"top1": 1.0}},
        ood_rule=rule,
    )
    new = recalibrated(old, "valid", targets, before, after)
    assert flagged_ood(after.numpy(), 1.0, rule) != pytest.approx(0.2, abs=0.01)
    assert new.ood_rule is not None
    assert new.ood_rule.score == score
    assert flagged_ood(after.numpy(), new.temperature, new.ood_rule) == pytest.approx(0.2)
    assert new.temperature == pytest.approx(fit_temperature(after, targets))
    assert list(new.metrics) == ["valid"]
    unruled = recalibrated(replace(old, ood_rule=None), "valid", targets, before, after)
    assert unruled.ood_rule is None
