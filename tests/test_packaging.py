"""What a clone carries: licences, ranges of dependencies, and nothing that may not be passed on.

    git ls-files -> every tracked file -> its size, its kind, what it names

A tree without git has no tracked files; those tests are then skipped.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

LARGEST_FILE = 50_000_000
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".webp", ".avif", ".heic", ".mpo", ".bmp", ".tif", ".tiff"}
RANGE = re.compile(r"[a-z0-9-]+>=\d+(\.\d+)*,<\d+(\.\d+)*")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every tracked file that is there."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def test_no_tracked_file_is_too_large_to_host(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.stat().st_size > LARGEST_FILE] == []


def test_no_photo_is_tracked(tracked: list[Path]) -> None:
    # The data set has no licence to pass its photos on. Pictures that we drew are PNG or SVG.
    assert [path for path in tracked if path.suffix.lower() in PHOTO_SUFFIXES] == []


def test_only_ci_knows_where_its_machine_keeps_the_photos(tracked: list[Path]) -> None:
    ci = ROOT / ".ci" / "run"
    folder = re.search(r"cd (\.\./\w+)/", ci.read_text(encoding="utf-8"))
    assert folder
    named = [path for path in tracked if path != ci and folder[1].encode() in path.read_bytes()]
    assert named == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: path.name)
def test_every_requirement_has_both_ends_of_a_range(path: Path) -> None:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    # Type stubs follow the package whose types they are.
    named = [line for line in lines if line and not line.startswith(("-r ", "types-"))]
    assert named
    assert [line for line in named if not RANGE.fullmatch(line)] == []


def test_the_licences_of_the_code_and_of_the_starting_weights_are_carried() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert project["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    notice = (ROOT / "NOTICE").read_text()
    for needed in ("TensorFlow Authors", "Apache License, Version 2.0", "What was changed"):
        assert needed in notice
    text = re.search(r"LICENSES/\S+\.txt", notice)
    assert text
    assert "Version 2.0, January 2004" in (ROOT / text[0]).read_text()
