"""Command line of `export.py`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.backends.base import Array, Pixels
from model.backends.openvino_backend import OpenVinoBackend
from model.classifier import Classifier
from model.data.photo_folder import PhotoFolder
from model.ood import OodRule
from model.training.config import TrainingConfig
from model.training.run_folder import write_config
from scripts.export import main
from tests.conftest import TINY_CLASSES
from tests.fake_checkpoint import always, save_fake_checkpoint

pytestmark = pytest.mark.slow


def test_the_export_is_compared_with_the_checkpoint_on_photos(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "mine.safetensors"
    checkpoint.write_bytes(tiny_checkpoint.read_bytes())
    assert main([str(checkpoint), "--data", str(flower_folder), "--photos", "5"]) == 0
    assert str(flower_folder / "valid") in capsys.readouterr().out
    assert Classifier.load(tmp_path / "mine.onnx").network.device == "cpu"


def test_the_photos_of_the_run_are_the_default(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "mine.safetensors"
    checkpoint.write_bytes(tiny_checkpoint.read_bytes())
    write_config(tmp_path, TrainingConfig(data=flower_folder))
    assert main([str(checkpoint), "--photos", "5"]) == 0
    assert str(flower_folder / "valid") in capsys.readouterr().out


def test_without_photos_the_check_uses_noise(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "mine.onnx"
    arguments = [str(tiny_checkpoint), "--data", str(tmp_path), "--output", str(output)]
    assert main([*arguments, "--photos", "3"]) == 0
    assert "noise" in capsys.readouterr().out
    assert output.is_file()


def test_a_wrong_export_does_not_replace_a_file(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = Classifier.probabilities

    def wrong(self: Classifier, batch: Pixels) -> Array:
        shift = 0.002 if self.version != Classifier.load(tiny_checkpoint, "cpu").version else 0
        return original(self, batch) + np.float32(shift)

    monkeypatch.setattr(Classifier, "probabilities", wrong)
    output = tmp_path / "mine.onnx"
    output.write_text("good")
    arguments = [str(tiny_checkpoint), "--data", str(tmp_path), "--output", str(output)]
    assert main([*arguments, "--photos", "2"]) == 1
    assert "0.002" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]
    assert output.read_text() == "good"


def test_a_missing_checkpoint_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.safetensors")]) == 1
    assert "none.safetensors" in capsys.readouterr().err


def int8_arguments(checkpoint: Path, data: Path, output: Path) -> list[str]:
    return [str(checkpoint), "--int8", "--data", str(data), "--output", str(output)]


def test_int8_has_its_own_calibration(
    flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = OodRule("energy", -50.0)  # below every score, so no photo is unknown
    checkpoint = save_fake_checkpoint(
        tmp_path / "mine.safetensors", always(2), temperature=0.4, ood_rule=rule
    )
    folders = ["--calibration-data", "valid", "train"]
    assert main([str(checkpoint), "--int8", "--data", str(flower_folder), *folders]) == 0
    assert "valid, train" in capsys.readouterr().out
    before = Classifier.load(checkpoint, "cpu").metadata
    after = Classifier.load(tmp_path / "mine-int8.onnx").metadata
    assert after.classes == before.classes
    assert after.transform == before.transform
    assert after.temperature != before.temperature
    assert {name: item["n"] for name, item in after.metrics.items()} == {"valid": 12, "train": 36}
    assert after.ood_rule is not None
    assert after.ood_rule.score == "energy"


@pytest.fixture
def unquantized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the float32 file instead of quantizing it, which takes seconds."""
    monkeypatch.setattr(
        "model.backends.export_check.quantize", lambda source, _, path: shutil.copy(source, path)
    )


def one_error(classifier: Classifier, photos: PhotoFolder) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits that are all correct, except of the first photo by OpenVINO."""
    targets = torch.tensor(photos.targets)
    logits = torch.nn.functional.one_hot(targets, len(TINY_CLASSES)).float()
    if isinstance(classifier.network, OpenVinoBackend):
        logits[0] = logits[0].roll(1)
    return logits, targets


@pytest.mark.usefixtures("unquantized")
def test_a_less_accurate_int8_file_does_not_replace_a_file(
    tiny_checkpoint: Path,
    flower_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("model.backends.export_check.compute_logits", one_error)
    output = tmp_path / "mine.onnx"
    output.write_text("good")
    assert main(int8_arguments(tiny_checkpoint, flower_folder, output)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {output} ")
    assert "11 of 12" in error
    assert "8.33%" in error  # one photo
    assert "--max-lost" in error
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]
    assert output.read_text() == "good"


@pytest.mark.usefixtures("unquantized")
def test_more_loss_can_be_accepted(
    tiny_checkpoint: Path,
    flower_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model.backends.export_check.compute_logits", one_error)
    output = tmp_path / "mine.onnx"
    arguments = int8_arguments(tiny_checkpoint, flower_folder, output)
    assert main([*arguments, "--max-lost", "0.05"]) == 1
    assert main([*arguments, "--max-lost", "0.1"]) == 0
    assert output.is_file()


@pytest.mark.parametrize("part", ["train", "valid"])
def test_int8_needs_both_splits(
    tiny_checkpoint: Path,
    flower_folder: Path,
    tmp_path: Path,
    part: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    other = {"train": "valid", "valid": "train"}[part]
    (data / other).symlink_to(flower_folder / other)
    output = tmp_path / "mine.onnx"
    assert main(int8_arguments(tiny_checkpoint, data, output)) == 1
    error = capsys.readouterr().err
    assert str(data / part) in error
    assert error.count("\n") == 1
    assert not output.exists()


def test_int8_without_nncf_is_an_error(
    tiny_checkpoint: Path,
    flower_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert main(int8_arguments(tiny_checkpoint, flower_folder, tmp_path / "mine.onnx")) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nncf" in error
    assert list(tmp_path.iterdir()) == []
