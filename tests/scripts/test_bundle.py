"""What `bundle.py` promises: the steps in order, each of which its script would take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model.training.config import TrainingConfig
from model.training.recipes import read_recipe
from scripts import bundle
from scripts.bundle import STEPS, Training, main


def planned(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    assert main(["--dry-run", "--data", "d", "--output", str(folder), *more]) == 0
    return capsys.readouterr().out.replace(str(folder), "O").splitlines()


def test_all_is_planned_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = planned(tmp_path, capsys, "--weights", "w")
    assert len(lines) == len(STEPS) + 3
    assert "train.py --recipe oxford --data d --output O/oxford --weights w" in lines[0]
    start = next(line for line in lines if "--recipe finish" in line)
    assert start.endswith("--output O/finish --start O/first/checkpoint.safetensors")
    assert "calibrate.py O/" in lines[-3]
    assert lines[-2].endswith("export.py O/bundled.safetensors --data d")
    assert lines[-1].endswith("export.py O/bundled.safetensors --data d --int8")


def test_each_step_rests_on_earlier_ones_and_on_a_recipe_that_exists() -> None:
    done: set[str] = set()
    for step in STEPS:
        if isinstance(step, Training):
            assert isinstance(read_recipe(step.recipe), TrainingConfig)
            assert step.start is None or step.start in done
        else:
            assert {name for name, _ in step.shares} <= done
            assert sum(share for _, share in step.shares) == pytest.approx(1)
        done.add(step.name)


def test_what_is_complete_is_left_and_what_was_broken_off_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("oxford", "first"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint.safetensors").touch()
    (tmp_path / "first" / "state-00004-0000187").mkdir()
    lines = planned(tmp_path, capsys)
    assert lines[0].endswith("train.py --resume O/first")
    assert not any("--recipe oxford" in line for line in lines)


def test_a_step_that_fails_ends_it_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit(7)")
    monkeypatch.setattr(bundle, "commands", lambda *_: [[str(script)], ["never"]])
    assert main(["--output", str(tmp_path)]) == 7


def test_it_runs_as_a_script() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/bundle.py", "--dry-run"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
