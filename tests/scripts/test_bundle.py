"""The command sequence of `bundle.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.training.recipes import recipe_names
from scripts import bundle, calibrate, export, train
from scripts.bundle import commands, main


def scripts_of(lines: list[list[str]]) -> list[str]:
    return [Path(line[0]).stem for line in lines]


def test_the_commands_train_calibrate_and_quantize(tmp_path: Path) -> None:
    lines = commands(Path("d"), tmp_path, Path("w"))
    assert scripts_of(lines) == ["train", "calibrate", "export"]
    training = lines[0]
    assert training[training.index("--recipe") + 1] in recipe_names()
    assert training[training.index("--pretrained-path") + 1] == "w"
    run = Path(training[training.index("--output") + 1])
    assert Path(lines[1][1]) == run / "checkpoint.safetensors"
    assert lines[2][1] == lines[1][lines[1].index("--output") + 1]


def test_every_command_is_valid_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mains = {"train": train.main, "calibrate": calibrate.main, "export": export.main}
    for script, *arguments in commands(tmp_path / "nowhere", tmp_path):
        assert (
            mains[Path(script).stem](arguments) == 1
        )  # the data is missing; 2 would be wrong usage
    assert capsys.readouterr().err


def test_a_complete_training_is_kept_and_an_incomplete_one_is_resumed(tmp_path: Path) -> None:
    run = tmp_path / "lite2"
    run.mkdir()
    (run / "checkpoint.safetensors").touch()
    assert scripts_of(commands(Path("d"), tmp_path)) == ["calibrate", "export"]
    (run / "state-00004-0000187").mkdir()
    assert commands(Path("d"), tmp_path)[0][1:] == ["--resume", str(run)]


def test_the_first_failure_sets_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit(7)")
    monkeypatch.setattr(bundle, "commands", lambda *_: [[str(script)], ["never"]])
    assert main(["--output", str(tmp_path)]) == 7


def test_a_dry_run_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "--data", "d", "--output", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert not list(tmp_path.iterdir())
