"""Knowledge distillation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from model.checkpoint.format import read_metadata
from model.imaging.transforms import EvaluationTransform
from model.training.config import ConfigError, TrainingConfig
from model.training.distillation import Teacher
from model.training.engine import TrainingError
from model.training.trainer import train

MakeOptions = Callable[..., TrainingConfig]

HALF = EvaluationTransform(64, 64, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = EvaluationTransform(64, 64, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class MeanColor(nn.Module):
    """A network whose logits are the mean of each channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, 3)."""
        return images.mean(dim=(2, 3))


def test_the_teacher_gets_its_own_normalization() -> None:
    color = torch.tensor([0.2, 0.5, 0.9])[:, None, None].expand(3, 4, 4)

    def normalized(transform: EvaluationTransform) -> torch.Tensor:
        mean, std = (torch.tensor(item)[:, None, None] for item in (transform.mean, transform.std))
        return ((color - mean) / std)[None]

    expected = MeanColor()(normalized(IMAGENET)).softmax(dim=-1)
    targets = Teacher(MeanColor(), IMAGENET, HALF, 1.0).targets(normalized(HALF))
    torch.testing.assert_close(targets, expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_is_lowest_for_the_logits_of_the_teacher(temperature: float) -> None:
    teacher = Teacher(MeanColor(), HALF, HALF, temperature)
    images = torch.randn(5, 3, 8, 8)
    targets, own = teacher.targets(images), MeanColor()(images)
    lowest = teacher.loss(own, targets)
    assert lowest < teacher.loss(own + torch.randn(own.shape), targets)
    assert not targets.requires_grad


@pytest.mark.slow
def test_a_run_learns_from_a_teacher(tiny_options: MakeOptions, tmp_path: Path) -> None:
    teacher = train(tiny_options(epochs=1, warmup_epochs=0, output=tmp_path / "teacher"))
    checkpoint = train(
        tiny_options(teacher=teacher, distillation_temperature=2.0, epochs=1, warmup_epochs=0)
    )
    training = read_metadata(checkpoint).training
    assert training["teacher"] == "checkpoint.safetensors"
    assert training["distillation_weight"] == 0.5


@pytest.mark.slow
def test_a_teacher_of_other_classes_is_an_error(
    tiny_options: MakeOptions, own_folder: Path, tmp_path: Path
) -> None:
    (own_folder / "cat_to_name.json").write_text(
        '{"1": "a", "10": "b", "100": "c", "2": "d", "21": "e", "5": "f"}'
    )
    teacher = train(
        tiny_options(data=own_folder, epochs=1, warmup_epochs=0, output=tmp_path / "teacher")
    )
    with pytest.raises(TrainingError, match="--teacher"):
        train(tiny_options(teacher=teacher))


@pytest.mark.slow
def test_the_last_epoch_is_kept_on_request(tiny_options: MakeOptions) -> None:
    checkpoint = train(tiny_options(epochs=3, lr=1e-9, model_ema_decay=0, keep_epoch="last"))
    assert read_metadata(checkpoint).training["kept_epoch"] == 3


@pytest.mark.parametrize(
    "options", [{"distillation_weight": 1.5}, {"distillation_temperature": 0.0}]
)
def test_distillation_options_out_of_range_are_errors(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        TrainingConfig(**options)  # type: ignore[arg-type]
