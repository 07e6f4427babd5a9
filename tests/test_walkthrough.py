"""The commands of docs/your-own-flowers.md, run in their order on a few generated photos."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from model.checkpoint.format import read_metadata
from model.checkpoint.labels import FlowerClass
from tests.conftest import ROOT, flower_image
from tests.serving import serving

PAGE = (ROOT / "docs" / "your-own-flowers.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"<!-- walkthrough -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
# A network of a second instead of an hour.
TINY = (
    "--backbone test_efficientnet --from-scratch --image-size 64 --batch-size 8 --epochs 2 "
    "--lr 0.01 --workers 0 --device cpu"
)
COLORS = {"daisy": "white", "rose": "red", "wild_tulip": "orange"}
SERVED = re.compile(r"PETALSCOPE_CHECKPOINT=(\S+) make serve")

pytestmark = pytest.mark.slow


def draw(folder: Path, color: str, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        image = Image.blend(flower_image((96, 80), number), Image.new("RGB", (96, 80), color), 0.8)
        image.save(folder / f"{number}.jpg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which all commands of the page have run."""
    folder = tmp_path_factory.mktemp("walkthrough")
    for name in ("model", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    for name, color in COLORS.items():
        draw(folder / "photos" / name, color, 6)
    draw(folder / "unknown", "blue", 4)
    python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in COMMANDS:
        tiny = command.replace("scripts/train.py", f"scripts/train.py {TINY}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", tiny],
            cwd=folder,
            env={**os.environ, "PATH": python, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return folder


def test_the_page_has_every_step() -> None:
    run = [command.split()[1] for command in COMMANDS]
    assert [Path(script).stem for script in run] == [
        "train", "evaluate", "calibrate", "evaluate", "train", "export",
    ]  # fmt: skip
    assert len(SERVED.findall(PAGE)) == 1


def test_the_model_is_split_and_named_as_the_page_says(folder: Path) -> None:
    metadata = read_metadata(folder / "runs" / "mine" / "checkpoint.safetensors")
    assert metadata.classes == tuple(FlowerClass(name, name) for name in COLORS)
    assert metadata.metrics["valid"]["n"] == 3
    assert metadata.training["train_photos"] == 15
    warned = folder / "runs" / "warned" / "data"
    for path in (folder / "runs" / "mine" / "data").rglob("*.jpg"):
        assert (warned / path.relative_to(folder / "runs" / "mine" / "data")).exists()


def test_the_exported_model_is_served(folder: Path) -> None:
    (checkpoint,) = SERVED.findall(PAGE)
    with serving(folder, PETALSCOPE_CHECKPOINT=str(folder / checkpoint)) as server:
        _, listed = server.request("GET", "/flowers")
        status, result = server.post((folder / "photos" / "rose" / "0.jpg").read_bytes())
    assert [item["display_name"] for item in listed["flowers"]] == ["Daisy", "Rose", "Wild tulip"]
    assert [item["url"] for item in listed["flowers"]] == [f"/flowers/{name}" for name in COLORS]
    assert status == 200
    assert {item["class_id"] for item in result["predictions"]} == set(COLORS)


def test_the_container_mounts_the_file_that_it_serves(folder: Path) -> None:
    (command,) = re.findall(r"docker run (?:[^\n]*\\\n)*[^\n]*", PAGE)
    words = shlex.split(command.replace("\\\n", " ").replace("$PWD", str(folder)))
    source, target, _ = words[words.index("-v") + 1].split(":")
    assert words[words.index("-e") + 1] == f"PETALSCOPE_CHECKPOINT={target}"
    # The container's user is not the owner.
    assert Path(source).stat().st_mode & 0o004
