"""Optimizer and schedule from timm's factories."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Final

import timm.optim
import timm.scheduler
import torch
from torch import nn

from model.errors import PetalscopeError
from model.training.config import TrainingConfig

_SCHEDULERS: Final = ("none", "cosine", "tanh", "step", "multistep", "poly", "wsd", "constant")
# PyTorch's names of the same schedules, in lower case. Names of optimizers differ only in case.
_PYTORCH_SCHEDULERS: Final = {
    "constantlr": "constant",
    "cosineannealinglr": "cosine",
    "multisteplr": "multistep",
    "polynomiallr": "poly",
    "steplr": "step",
}


class OptimizationError(PetalscopeError):
    """An optimizer or schedule that timm does not have or cannot create with these options."""


def create_optimizer(network: nn.Module, options: TrainingConfig) -> torch.optim.Optimizer:
    """Create timm's optimizer of the trainable parameters.

    Weight decay excludes biases and norms. With `layer_decay`, the learning rate falls from each of
    timm's layer groups to the one below.

    Args:
        network: The network, with its frozen parameters marked.
        options: Uses `optimizer`, `lr`, `weight_decay`, `momentum` and `layer_decay`.

    Raises:
        OptimizationError: The name is unknown, or the options do not fit the optimizer.
    """
    known = [str(name) for name in timm.optim.list_optimizers()]
    if options.optimizer.lower() not in known:
        raise OptimizationError(_unknown("optimizer", options.optimizer, known))
    try:
        optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
            network,
            opt=options.optimizer.lower(),
            lr=options.lr,
            weight_decay=options.weight_decay,
            momentum=options.momentum,
            layer_decay=options.layer_decay,
        )
    except (ImportError, TypeError, ValueError) as error:
        raise OptimizationError(
            f"The optimizer {options.optimizer} does not accept these options: {error}."
        ) from error
    return optimizer


def create_schedule(
    optimizer: torch.optim.Optimizer, options: TrainingConfig, steps_per_epoch: int
) -> Any:
    """Create timm's schedule, updated at every step; None for a constant learning rate.

    Args:
        optimizer: Optimizer whose learning rates the schedule sets.
        options: Uses `scheduler`, `epochs` and the options of the schedule.
        steps_per_epoch: Optimizer steps in an epoch.

    Raises:
        OptimizationError: The name is unknown, or the options do not fit the schedule.
    """
    name = options.scheduler.lower()
    name = _PYTORCH_SCHEDULERS.get(name, name)
    if name not in _SCHEDULERS:
        raise OptimizationError(_unknown("schedule", options.scheduler, _SCHEDULERS))
    if name == "none":
        return None
    try:
        schedule, _ = timm.scheduler.create_scheduler_v2(
            optimizer,
            sched=name,
            num_epochs=options.epochs,
            decay_epochs=options.decay_epochs,
            # timm's types are narrower than what it accepts.
            decay_milestones=_milestones(options),  # type: ignore[arg-type]
            decay_rate=options.decay_rate,
            min_lr=options.min_lr,
            warmup_epochs=min(options.warmup_epochs, options.epochs / 2),  # type: ignore[arg-type]
            warmup_lr=options.lr / 100,
            step_on_epochs=False,
            updates_per_epoch=steps_per_epoch,
        )
    except ValueError as error:
        raise OptimizationError(
            f"--scheduler {options.scheduler} does not accept these options: {error}"
        ) from error
    return schedule


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """Return the highest learning rate among the parameter groups."""
    return max(float(group["lr"]) for group in optimizer.param_groups)


def _milestones(options: TrainingConfig) -> list[float]:
    count = int(options.epochs / options.decay_epochs)
    return [options.decay_epochs * (number + 1) for number in range(count)]


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=5, cutoff=0.4) or list(known)[:8]
    return f"timm has no {kind} named {name!r}. Similar names: {', '.join(close)}."
