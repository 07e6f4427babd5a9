"""What `calibrate.py` promises: the same weights, with what the photos say about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from model.checkpoint.format import read_metadata
from model.classifier import Classifier
from scripts.calibrate import main


def test_a_copy_with_the_same_weights_and_a_rule_is_written(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "calibrated.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main([*arguments, "--score", "energy"]) == 0
    assert f"wrote {output}" in capsys.readouterr().out
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


def test_a_folder_that_is_not_there_is_told(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.safetensors"
    arguments = [str(tiny_checkpoint), "--data", "nowhere", "--output", str(output)]
    assert main(arguments) == 1
    assert "no folder nowhere/valid" in capsys.readouterr().err
    assert not output.exists()


def test_another_view_and_another_share_are_stored(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "calibrated.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    view = ["--resize", "48", "--crop", "48"]
    thresholds = []
    for accepted in ("0.9", "0.6"):
        assert main([*arguments, *view, "--accepted", accepted]) == 0
        metadata = read_metadata(output)
        assert (metadata.transform.resize, metadata.transform.crop) == (48, 48)
        assert metadata.ood_rule is not None
        thresholds.append(metadata.ood_rule.threshold)
    assert thresholds[0] < thresholds[1]


def test_an_offset_moves_the_logits_of_the_classes_of_its_folder(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "calibrated.safetensors"
    class_ids = [item.class_id for item in read_metadata(tiny_checkpoint).classes]
    (tmp_path / "everyday" / class_ids[1]).mkdir(parents=True)
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main(arguments) == 0
    plain = read_metadata(output)
    assert plain.ood_rule is not None
    threshold = plain.ood_rule.threshold * plain.temperature  # of logits as they are
    assert main([*arguments, "--offset", f"{tmp_path / 'everyday'}:-0.5"]) == 0
    photo = Image.new("RGB", (40, 30), "crimson")
    before, after = (Classifier.load(path, "cpu") for path in (tiny_checkpoint, output))
    batch = before.preprocess(photo)[None]
    moved = after.logits(batch)[0] - before.logits(batch)[0]
    expected = [-0.5 if class_id == class_ids[1] else 0.0 for class_id in class_ids]
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    assert after.metadata.training["offset"] == "-0.5 for the classes of everyday"
    rule = after.metadata.ood_rule
    assert rule is not None
    assert rule.logit_adjustment == tuple(expected)
    assert rule.threshold * after.metadata.temperature == pytest.approx(threshold, rel=1e-4)
    again = [str(output), *arguments[1:], "--offset", f"{tmp_path / 'everyday'}:0.5"]
    assert main(again) == 0
    undone = read_metadata(output).ood_rule
    assert undone is not None
    assert undone.logit_adjustment == ()


def test_levels_of_classes_go_into_the_rule_and_move_no_logit(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "calibrated.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main([*arguments, "--level-prior", "2"]) == 0
    photo = Image.new("RGB", (40, 30), "crimson")
    before, after = (Classifier.load(path, "cpu") for path in (tiny_checkpoint, output))
    batch = before.preprocess(photo)[None]
    np.testing.assert_array_equal(after.logits(batch), before.logits(batch))
    assert after.metadata.training["level_prior"] == 2
    rule = after.metadata.ood_rule
    assert rule is not None
    assert len(set(rule.logit_adjustment)) == len(after.metadata.classes)


def test_an_offset_for_a_class_that_is_none_is_told(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "everyday" / "oak").mkdir(parents=True)
    output = tmp_path / "out.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main([*arguments, "--offset", f"{tmp_path / 'everyday'}:-0.5"]) == 1
    assert "has a folder oak, which is none of the classes" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("option", "value", "right"),
    [
        *(
            ("--accepted", share, "a number above 0 and below 1")
            for share in ("0", "1", "95", "nan", "most")
        ),
        *(
            ("--offset", offset, "FOLDER:POINTS with a number of points")
            for offset in ("everyday", "everyday:", ":0.5", "everyday:nan")
        ),
        *(
            ("--level-prior", prior, "a number of photos, 0 or more")
            for prior in ("-1", "nan", "few")
        ),
    ],
)
def test_a_number_that_is_none_is_wrong_usage(
    tiny_checkpoint: Path,
    tmp_path: Path,
    option: str,
    value: str,
    right: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(tiny_checkpoint), "--output", str(tmp_path / "out"), option, value]
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"'{value}' is not {right}" in capsys.readouterr().err
