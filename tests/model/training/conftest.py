"""Options of a training run that is small enough for a test, and its interruption."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.training.config import TrainingConfig
from model.training.engine import Engine


@pytest.fixture(autouse=True)
def _tiny_training(tiny_training: None) -> None:
    pass


@pytest.fixture
def own_folder(flower_folder: Path, tmp_path: Path) -> Path:
    """Copy the generated data set, so that a test may change it."""
    return Path(shutil.copytree(flower_folder, tmp_path / "own"))


def tiny_config(**changes: Any) -> TrainingConfig:
    """Return options that train timm's smallest network for two epochs of four steps."""
    values: dict[str, Any] = {
        "backbone": "test_efficientnet",
        "from_scratch": True,
        "image_size": 64,
        "epochs": 2,
        "batch_size": 8,
        "warmup_epochs": 0.5,
        "lr": 1e-2,
        "workers": 0,
    }
    return TrainingConfig(**{**values, **changes})


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send SIGINT to this process during a step, counted from 0."""
    original = Engine.step

    def interrupted(self: Engine, *args: Any, number: int, seed: int) -> torch.Tensor:
        if number == step:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args, number=number, seed=seed)

    monkeypatch.setattr(Engine, "step", interrupted)


@pytest.fixture
def tiny_options(flower_folder: Path, tmp_path: Path) -> Callable[..., TrainingConfig]:
    """Return a function that builds `tiny_config` options with changes."""

    def options(**changes: Any) -> TrainingConfig:
        return tiny_config(**{"data": flower_folder, "output": tmp_path / "run", **changes})

    return options
