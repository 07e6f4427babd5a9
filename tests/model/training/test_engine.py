"""Training steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.folder_lock import FolderInUseError
from model.training.augmentation import OOD_TARGET
from model.training.config import TrainingConfig
from model.training.engine import (
    Engine,
    TrainingError,
    create_accelerator,
    on_main_process,
    steps_per_sync,
)

PHOTOS = 4


class FirstClass(nn.Module):
    """A network that puts every photo into the first of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([5.0, 0.0, -1.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, 3)."""
        return self.logits.expand(len(images), 3)


@pytest.mark.parametrize(
    ("targets", "correct", "with_class"),
    [
        ([0, 0, 1, 2], 2, 4),
        ([0, 1, OOD_TARGET, OOD_TARGET], 1, 2),
        ([OOD_TARGET] * PHOTOS, 0, 0),
    ],
)
def test_ood_photos_do_not_count_in_the_accuracy(
    targets: list[int], correct: int, with_class: int
) -> None:
    options = TrainingConfig(device="cpu", precision="no", scheduler="none", lr=1e-9)
    accelerator = create_accelerator(options)
    engine = Engine(accelerator, FirstClass(), options, num_classes=3, steps_per_epoch=1)
    found = engine.step(torch.zeros(PHOTOS, 3, 8, 8), torch.tensor(targets), number=0, seed=0)
    assert found[1:].tolist() == [correct, with_class]


def test_only_a_cpu_is_read_at_every_step() -> None:
    assert steps_per_sync(torch.device("cpu")) == 1
    assert 2 <= steps_per_sync(torch.device("cuda")) <= 50


@pytest.mark.usefixtures("tiny_training")
def test_processes_that_a_device_cannot_join_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate would start separate runs, as on the GPU of a Mac."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="--device cpu"):
        create_accelerator(TrainingConfig(precision="no"))


@pytest.mark.usefixtures("tiny_training")
def test_an_error_of_the_main_process_reaches_every_process() -> None:
    def busy() -> None:
        raise FolderInUseError("busy")

    accelerator = create_accelerator(TrainingConfig(device="cpu", precision="no"))
    assert on_main_process(accelerator, lambda: 5) == 5
    with pytest.raises(FolderInUseError):
        on_main_process(accelerator, busy)


@pytest.mark.cuda
def test_a_step_does_not_wait_for_the_gpu() -> None:
    options = TrainingConfig(precision="bf16", cutmix=1.0, mixup=0.2)
    accelerator = create_accelerator(options)
    engine = Engine(accelerator, FirstClass(), options, num_classes=3, steps_per_epoch=9)
    images = torch.zeros(PHOTOS, 3, 8, 8, device=accelerator.device)
    targets = torch.tensor([0, 1, OOD_TARGET, 2], device=accelerator.device)
    engine.step(images, targets, number=0, seed=0)  # the first initializes the optimizer
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine.step(images, targets, number=1, seed=1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
