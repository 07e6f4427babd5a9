"""The command sequence of `bundle.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.training.recipes import recipe_names
from scripts import average, bundle, calibrate, export, train
from scripts.bundle import commands, main


def scripts_of(lines: list[list[str]]) -> list[str]:
    return [Path(line[0]).stem for line in lines]


def option(line: list[str], name: str) -> str:
    return line[line.index(name) + 1]


def test_the_commands_train_average_calibrate_and_quantize(tmp_path: Path) -> None:
    lines = commands(Path("d"), tmp_path, Path("w"))
    assert scripts_of(lines) == ["train", "train", "average", "calibrate", "export"]
    *runs, averaging, calibration, exporting = lines
    first, second = runs
    assert {option(line, "--recipe") for line in runs} <= set(recipe_names())
    assert option(first, "--pretrained-path") == "w"
    start = Path(option(second, "--initial-checkpoint"))
    assert start == Path(option(first, "--output")) / "checkpoint.safetensors"
    paths, weights = zip(*(text.rsplit(":", 1) for text in averaging[1:3]), strict=True)
    trained = [str(Path(option(line, "--output")) / "checkpoint.safetensors") for line in runs]
    assert list(paths) == trained
    assert sum(map(float, weights)) == 1
    assert calibration[1] == option(averaging, "--output")
    assert exporting[1] == option(calibration, "--output")


def test_every_command_is_valid_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mains = {
        "train": train.main,
        "average": average.main,
        "calibrate": calibrate.main,
        "export": export.main,
    }
    for script, *arguments in commands(tmp_path / "nowhere", tmp_path):
        assert (
            mains[Path(script).stem](arguments) == 1
        )  # the data is missing; 2 would be wrong usage
    assert capsys.readouterr().err


def test_a_complete_training_is_kept_and_an_incomplete_one_is_resumed(tmp_path: Path) -> None:
    first, second = tmp_path / "lite2", tmp_path / "lite2_finish"
    for run in (first, second):
        run.mkdir()
    (first / "checkpoint.safetensors").touch()
    lines = commands(Path("d"), tmp_path)
    assert scripts_of(lines) == ["train", "average", "calibrate", "export"]
    assert option(lines[0], "--initial-checkpoint") == str(first / "checkpoint.safetensors")
    (second / "checkpoint.safetensors").touch()
    assert scripts_of(commands(Path("d"), tmp_path)) == ["average", "calibrate", "export"]
    (second / "state-00004-0000187").mkdir()
    assert commands(Path("d"), tmp_path)[0][1:] == ["--resume", str(second)]


def test_the_first_failure_sets_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit(7)")
    monkeypatch.setattr(bundle, "commands", lambda *_: [[str(script)], ["never"]])
    assert main(["--output", str(tmp_path)]) == 7


def test_a_dry_run_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "--data", "d", "--output", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert not list(tmp_path.iterdir())
