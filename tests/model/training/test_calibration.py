"""The fitted temperature."""

from __future__ import annotations

import pytest
import torch

from model.measures import measure
from model.training.calibration import cross_fitted, fit_temperature


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
    before, after = (measure(one, targets, class_ids) for one in (logits, scaled))
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
