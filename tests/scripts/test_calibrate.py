"""Command line of `calibrate.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from model.checkpoint.format import read_metadata
from model.classifier import Classifier
from model.training.config import TrainingConfig
from model.training.run_folder import write_config
from scripts.calibrate import main


@pytest.mark.slow
def test_the_output_has_the_same_weights_and_an_ood_rule(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "calibrated.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main([*arguments, "--score", "energy"]) == 0
    assert str(output) in capsys.readouterr().out
    before, after = read_metadata(tiny_checkpoint), read_metadata(output)
    assert before.ood_rule is None
    assert after.ood_rule is not None
    assert after.ood_rule.score == "energy"
    assert after.temperature != before.temperature
    assert after.metrics["valid"]["n"] == 12
    assert after.classes == before.classes
    old, new = load_file(tiny_checkpoint), load_file(output)
    assert old.keys() == new.keys()
    for name in old:
        np.testing.assert_array_equal(new[name], old[name])


def test_a_missing_folder_is_named(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.safetensors"
    arguments = [str(tiny_checkpoint), "--data", "nowhere", "--output", str(output)]
    assert main(arguments) == 1
    assert "nowhere/valid" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.slow
def test_the_photos_of_the_run_are_the_default(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path
) -> None:
    checkpoint, output = tmp_path / "mine.safetensors", tmp_path / "calibrated.safetensors"
    checkpoint.write_bytes(tiny_checkpoint.read_bytes())
    write_config(tmp_path, TrainingConfig(data=flower_folder))
    assert main([str(checkpoint), "--output", str(output)]) == 0
    assert read_metadata(output).metrics["valid"]["n"] == 12


@pytest.mark.slow
def test_float16_halves_the_checkpoint(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "half.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main([*arguments, "--checkpoint-dtype", "float16"]) == 0
    assert output.stat().st_size < 0.7 * tiny_checkpoint.stat().st_size


@pytest.mark.slow
def test_another_image_size_and_target_tpr_are_stored(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "calibrated.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    eval_size = ["--eval-resize", "48", "--eval-crop", "48"]
    thresholds = []
    for tpr in ("0.9", "0.6"):
        assert main([*arguments, *eval_size, "--target-tpr", tpr]) == 0
        metadata = read_metadata(output)
        assert (metadata.transform.resize, metadata.transform.crop) == (48, 48)
        assert metadata.ood_rule is not None
        thresholds.append(metadata.ood_rule.threshold)
    assert thresholds[0] < thresholds[1]


@pytest.mark.slow
def test_logit_adjustment_applies_to_the_classes_of_its_folder(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "calibrated.safetensors"
    class_ids = [item.class_id for item in read_metadata(tiny_checkpoint).classes]
    (tmp_path / "garden" / class_ids[1]).mkdir(parents=True)
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main(arguments) == 0
    plain = read_metadata(output)
    assert plain.ood_rule is not None
    threshold = plain.ood_rule.threshold * plain.temperature  # before temperature scaling
    assert main([*arguments, "--logit-adjustment", f"{tmp_path / 'garden'}:-0.5"]) == 0
    photo = Image.new("RGB", (40, 30), "crimson")
    before, after = (Classifier.load(path, "cpu") for path in (tiny_checkpoint, output))
    batch = before.preprocess(photo)[None]
    difference = after.logits(batch)[0] - before.logits(batch)[0]
    expected = [-0.5 if class_id == class_ids[1] else 0.0 for class_id in class_ids]
    np.testing.assert_allclose(difference, expected, atol=1e-5)
    assert "-0.5" in after.metadata.training["logit_adjustment"]
    assert "garden" in after.metadata.training["logit_adjustment"]
    rule = after.metadata.ood_rule
    assert rule is not None
    assert rule.logit_adjustment == tuple(expected)
    assert rule.threshold * after.metadata.temperature == pytest.approx(threshold, rel=1e-4)
    again = [str(output), *arguments[1:], "--logit-adjustment", f"{tmp_path / 'garden'}:0.5"]
    assert main(again) == 0
    undone = read_metadata(output).ood_rule
    assert undone is not None
    assert undone.logit_adjustment == ()


@pytest.mark.slow
def test_class_means_change_the_ood_rule_and_no_logit(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "calibrated.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main([*arguments, "--class-mean-shrinkage", "2"]) == 0
    photo = Image.new("RGB", (40, 30), "crimson")
    before, after = (Classifier.load(path, "cpu") for path in (tiny_checkpoint, output))
    batch = before.preprocess(photo)[None]
    np.testing.assert_array_equal(after.logits(batch), before.logits(batch))
    assert after.metadata.training["class_mean_shrinkage"] == 2
    rule = after.metadata.ood_rule
    assert rule is not None
    assert len(set(rule.logit_adjustment)) == len(after.metadata.classes)


@pytest.mark.slow
def test_logit_adjustment_of_an_unknown_class_is_an_error(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "garden" / "oak").mkdir(parents=True)
    output = tmp_path / "out.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main([*arguments, "--logit-adjustment", f"{tmp_path / 'garden'}:-0.5"]) == 1
    assert "oak" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--target-tpr", value) for value in ("0", "1", "95", "nan", "most")),
        *(("--logit-adjustment", value) for value in ("a", "a:", ":0.5", "a:nan", "a:1e30")),
        *(("--class-mean-shrinkage", value) for value in ("-1", "nan", "few")),
    ],
)
def test_an_invalid_number_is_wrong_usage(
    tiny_checkpoint: Path,
    tmp_path: Path,
    option: str,
    value: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(tiny_checkpoint), "--output", str(tmp_path / "out"), f"{option}={value}"]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert option in capsys.readouterr().err
