"""What `export.py` promises: a file that answers as its checkpoint does, or a complaint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.classifier import Classifier
from model.network import Array
from scripts.export import main


def test_the_file_is_written_beside_and_compared_on_photos(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "mine.safetensors"
    checkpoint.write_bytes(tiny_checkpoint.read_bytes())
    assert main([str(checkpoint), "--data", str(flower_folder), "--photos", "5"]) == 0
    assert f"on 5 photos of {flower_folder / 'valid'}" in capsys.readouterr().out
    assert Classifier.load(tmp_path / "mine.onnx").network.device == "cpu"


def test_without_photos_noise_will_do(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "mine.onnx"
    arguments = [str(tiny_checkpoint), "--data", str(tmp_path), "--output", str(output)]
    assert main([*arguments, "--photos", "3"]) == 0
    assert "3 inputs of noise" in capsys.readouterr().out
    assert output.is_file()


def test_a_file_that_answers_otherwise_replaces_none(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = Classifier.probabilities

    def wrong(self: Classifier, batch: Array) -> Array:
        shift = 0.002 if self.version != Classifier.load(tiny_checkpoint, "cpu").version else 0
        return original(self, batch) + np.float32(shift)

    monkeypatch.setattr(Classifier, "probabilities", wrong)
    output = tmp_path / "mine.onnx"
    output.write_text("good")
    arguments = [str(tiny_checkpoint), "--data", str(tmp_path), "--output", str(output)]
    assert main([*arguments, "--photos", "2"]) == 1
    assert "differ by 0.002" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]
    assert output.read_text() == "good"


def test_a_missing_checkpoint_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.safetensors")]) == 1
    assert "no checkpoint at" in capsys.readouterr().err
