"""What `calibrate.py` promises: the same weights, with what the photos say about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from model.checkpoint import read_metadata
from scripts.calibrate import main


def test_a_copy_with_the_same_weights_and_a_rule_is_written(
    tiny_checkpoint: Path, flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "calibrated.safetensors"
    arguments = [str(tiny_checkpoint), "--data", str(flower_folder), "--output", str(output)]
    assert main([*arguments, "--score", "energy"]) == 0
    assert f"wrote {output}" in capsys.readouterr().out
    before, after = read_metadata(tiny_checkpoint), read_metadata(output)
    assert before.known_rule is None
    assert after.known_rule is not None
    assert after.known_rule.score == "energy"
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
        assert metadata.known_rule is not None
        thresholds.append(metadata.known_rule.threshold)
    assert thresholds[0] < thresholds[1]


@pytest.mark.parametrize("share", ["0", "1", "95", "nan", "most"])
def test_a_share_that_is_none_is_wrong_usage(
    tiny_checkpoint: Path, tmp_path: Path, share: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_checkpoint), "--output", str(tmp_path / "out"), "--accepted", share]
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"'{share}' is not a number above 0 and below 1" in capsys.readouterr().err
