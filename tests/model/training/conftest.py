"""A training small enough for a test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState, GradientState

from model.training.config import TrainingConfig


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    # Accelerate keeps device and precision for the whole process; each test chooses its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def own_folder(flower_folder: Path, tmp_path: Path) -> Path:
    """A copy of the drawn data set, for a test to spoil."""
    return Path(shutil.copytree(flower_folder, tmp_path / "own"))


@pytest.fixture
def tiny_options(flower_folder: Path, tmp_path: Path) -> Callable[..., TrainingConfig]:
    """Options that train timm's smallest network for two epochs of four steps."""

    def options(**changes: Any) -> TrainingConfig:
        values: dict[str, Any] = {
            "data": flower_folder,
            "output": tmp_path / "run",
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

    return options
