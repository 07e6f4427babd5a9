"""Options of a training run that is small enough for a test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.training.config import TrainingConfig


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


@pytest.fixture
def tiny_options(flower_folder: Path, tmp_path: Path) -> Callable[..., TrainingConfig]:
    """Return a function that builds `tiny_config` options with changes."""

    def options(**changes: Any) -> TrainingConfig:
        return tiny_config(**{"data": flower_folder, "output": tmp_path / "run", **changes})

    return options
