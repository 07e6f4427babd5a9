"""The README says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.settings import Settings
from model.training.options import TrainingOptions
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_table_of_settings_is_that_of_the_code() -> None:
    rows = [
        f"| `{row.variable}` | `{row.default}` | {row.meaning} |" for row in Settings.describe()
    ]
    assert re.findall(r"^\| `PETALSCOPE_.*\|$", README, re.MULTILINE) == rows


def test_its_links_into_the_project_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    inside = [target for target in targets if "://" not in target]
    assert inside
    assert [target for target in inside if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("path", re.findall(r"(?:python|launch --multi-gpu) (\S+\.py)", README))
def test_a_script_it_names_is_there(path: str) -> None:
    assert Path(ROOT, path).is_file()


def test_every_option_of_training_it_shows_exists() -> None:
    known = {"--" + item.name.replace("_", "-") for item in fields(TrainingOptions)}
    commands = re.findall(r"scripts/train\.py ((?:[^\n]*\\\n)*[^\n`]*)", README)
    shown = {option for text in commands for option in re.findall(r"--[a-z-]+", text)}
    assert len(shown) > 5
    assert shown - known <= {"--resume"}
