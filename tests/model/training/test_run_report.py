"""Reports of a training run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from model.checkpoint.labels import FlowerClass
from model.imaging.transforms import EvaluationTransform
from model.training.augmentation import OOD_TARGET
from model.training.data import Sample, SeededPhotos
from model.training.run_report import draw_curves, draw_samples, write_history

HISTORY = [
    {
        "epoch": float(epoch),
        "train_loss": 1.0 / epoch,
        "train_accuracy": 0.5,
        "valid_loss": 1.2 / epoch,
        "valid_accuracy": 0.4,
    }
    for epoch in (1, 2)
]


# `draw_curves` and `draw_samples` are imported above, before `tiny_training` replaces them.
@pytest.mark.slow
def test_curves_are_drawn(tmp_path: Path) -> None:
    draw_curves(tmp_path / "curves.png", HISTORY)
    with Image.open(tmp_path / "curves.png") as image:
        assert min(image.size) > 200


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fire lily", "バラ", "$x_1$ ^", "x" * 250])
def test_samples_are_drawn_with_an_ood_photo(
    flower_folder: Path, tmp_path: Path, name: str
) -> None:
    paths = sorted((flower_folder / "train").glob("*/*.png"))[:2]
    photos = SeededPhotos(
        [Sample(paths[0], 0), Sample(paths[1], OOD_TARGET)],
        lambda _: v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]),
        seed=0,
    )
    transform = EvaluationTransform(64, 64, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    draw_samples(tmp_path / "samples.png", photos, [FlowerClass("21", name)], transform, seed=0)
    with Image.open(tmp_path / "samples.png") as image:
        assert min(image.size) > 200


def test_a_failed_write_keeps_the_earlier_history(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write_history(path, HISTORY[:1])
    before = path.read_text()
    with pytest.raises(ValueError, match="unexpected"):
        write_history(path, [HISTORY[0], {**HISTORY[1], "unexpected": 1.0}])
    assert path.read_text() == before
    assert [item.name for item in tmp_path.iterdir()] == ["history.csv"]
