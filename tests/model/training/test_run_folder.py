"""Contents of run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.training.config import TrainingConfig
from model.training.engine import TrainingError
from model.training.resume import ResumeError
from model.training.run_folder import (
    read_config,
    run_data,
    run_status,
    usable_folder,
    write_config,
)

HISTORY = "epoch,train_loss\n1,0.5\n"


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({}, "new"),
        ({".lock": ""}, "new"),
        ({"notes.txt": ""}, "other"),
        ({"arguments.json": '{"epochs": 2}'}, "incomplete"),
        ({"arguments.json": '{"epochs": 2}', "history.csv": HISTORY}, "incomplete"),
        ({"arguments.json": '{"epochs": 1}', "history.csv": HISTORY}, "complete"),
        (
            {
                "arguments.json": '{"epochs": 1}',
                "history.csv": HISTORY,
                "state-00000-0000003/x": "",
            },
            "incomplete",
        ),
    ],
)
def test_a_folder_has_a_status(tmp_path: Path, files: dict[str, str], status: str) -> None:
    assert run_status(tmp_path / "run") == "new"
    for name, text in files.items():
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert run_status(tmp_path / "run") == status
    options = TrainingConfig(output=tmp_path / "run")
    if status == "new":
        assert usable_folder(options, resume=False) == options.output
    else:
        with pytest.raises(TrainingError):
            usable_folder(options, resume=False)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        ('{"colour": 1}', "colour"),
        ('{"lr": "fast"}', "--lr"),
        ('{"lr": -1}', "--lr"),
        ("{", "unreadable"),
        ("[" * 100_000, "unreadable"),
        ("[]", "unreadable"),
    ],
)
def test_options_of_another_version_are_named(tmp_path: Path, content: str, fragment: str) -> None:
    (tmp_path / "arguments.json").write_text(content)
    with pytest.raises(ResumeError, match=fragment):
        read_config(tmp_path)
    assert run_data(tmp_path / "checkpoint.safetensors") is None


def test_files_outside_the_data_keep_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: dict[str, Any] = {
        name: Path(name) for name in ("data", "category_names", "pretrained_path", "teacher")
    }
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    write_config(tmp_path / "run", TrainingConfig(**paths, output=Path("run")))
    written = json.loads((tmp_path / "run" / "arguments.json").read_text())
    assert {name: written[name] for name in paths} == {name: str(tmp_path / name) for name in paths}
    assert written["train_data"] == ["train"]
    assert read_config(Path("run")).output == Path("run")
