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
