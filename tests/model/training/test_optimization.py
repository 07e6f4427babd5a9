"""Optimizers and schedules."""

from __future__ import annotations

import pytest
import torch
from timm.scheduler import (
    CosineLRScheduler,
    MultiStepLRScheduler,
    PolyLRScheduler,
    StepLRScheduler,
)
from torch import nn

from model.training.config import TrainingConfig
from model.training.optimization import (
    OptimizationError,
    create_optimizer,
    create_schedule,
    learning_rate,
)

STEPS = 20


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adamw", torch.optim.AdamW),
        ("SGD", torch.optim.SGD),
        ("Adam", torch.optim.Adam),
        ("AdamW", torch.optim.AdamW),
        ("RMSprop", torch.optim.RMSprop),
        ("Adadelta", torch.optim.Adadelta),
    ],
)
def test_an_optimizer_has_the_name_of_timm_or_pytorch(name: str, kind: type) -> None:
    assert isinstance(create_optimizer(nn.Linear(2, 2), TrainingConfig(optimizer=name)), kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("step", StepLRScheduler),
        ("StepLR", StepLRScheduler),
        ("ConstantLR", StepLRScheduler),
        ("MultiStepLR", MultiStepLRScheduler),
        ("CosineAnnealingLR", CosineLRScheduler),
        ("PolynomialLR", PolyLRScheduler),
        ("None", type(None)),
    ],
)
def test_a_schedule_has_the_name_of_timm_or_pytorch(name: str, kind: type) -> None:
    options = TrainingConfig(scheduler=name)
    optimizer = create_optimizer(nn.Linear(2, 2), options)
    assert isinstance(create_schedule(optimizer, options, STEPS), kind)


@pytest.mark.parametrize("name", ["CosineAnnealingWarmRestarts", "ReduceLROnPlateau"])
def test_an_unknown_schedule_is_an_error(name: str) -> None:
    options = TrainingConfig(scheduler=name)
    optimizer = create_optimizer(nn.Linear(2, 2), options)
    with pytest.raises(OptimizationError, match=name):
        create_schedule(optimizer, options, STEPS)


def test_options_that_do_not_fit_the_schedule_are_an_error() -> None:
    options = TrainingConfig(scheduler="wsd", epochs=5, decay_epochs=10)
    optimizer = create_optimizer(nn.Linear(2, 2), options)
    with pytest.raises(OptimizationError, match="decay_epochs"):
        create_schedule(optimizer, options, STEPS)


@pytest.mark.parametrize(
    ("epochs", "warmup", "peak"), [(1, 1.0, STEPS / 2), (2, 5.0, STEPS), (4, 1.0, STEPS)]
)
def test_the_warmup_takes_at_most_half_of_the_run(epochs: int, warmup: float, peak: float) -> None:
    options = TrainingConfig(epochs=epochs, warmup_epochs=warmup, lr=1.0, scheduler="constant")
    optimizer = create_optimizer(nn.Linear(2, 2), options)
    schedule = create_schedule(optimizer, options, STEPS)
    rates = []
    for step in range(epochs * STEPS):
        schedule.step_update(step)
        rates.append(learning_rate(optimizer))
    assert rates.index(1.0) == peak
