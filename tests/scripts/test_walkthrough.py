"""The commands of docs/your-own-flowers.md, run in their order on a few generated photos."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from model.checkpoint.format import read_metadata
from model.checkpoint.labels import FlowerClass
from tests.conftest import ROOT, flower_image, tiny_training
from tests.serving import serving

PAGE = (ROOT / "docs" / "your-own-flowers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- walkthrough -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
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


def run(command: str, folder: Path) -> None:
    """Run a command of the page as in a shell.

    Only the export gets a process of its own: it loads OpenVINO, which must not run in a process
    that trains.
    """
    python, script, *arguments = shlex.split(command)
    assert python == "python"
    if Path(script).stem == "export":
        subprocess.run([sys.executable, script, *arguments], cwd=folder, check=True, timeout=600)
        return
    with tiny_training():
        assert import_module(f"scripts.{Path(script).stem}").main(arguments) == 0, command


def test_the_page_has_every_step() -> None:
    assert [Path(command.split()[1]).stem for command in COMMANDS] == [
        "train", "evaluate", "calibrate", "evaluate", "train", "evaluate", "export",
    ]  # fmt: skip
    assert len(SERVED.findall(PAGE)) == 1


def test_the_commands_train_and_export_a_model_that_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run everything in one test, because two workers would each repeat the commands."""
    for name in ("model", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, color in COLORS.items():
        draw(tmp_path / "photos" / name, color, 6)
    draw(tmp_path / "unknown", "blue", 4)
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        run(command.replace("scripts/train.py", f"scripts/train.py {TINY}"), tmp_path)
    check_split(tmp_path)
    check_service(tmp_path)
    check_container(tmp_path)


def check_split(folder: Path) -> None:
    metadata = read_metadata(folder / "runs" / "mine" / "checkpoint.safetensors")
    assert metadata.classes == tuple(FlowerClass(name, name) for name in COLORS)
    assert metadata.metrics["valid"]["n"] == 3
    assert metadata.training["train_photos"] == 15
    warned = folder / "runs" / "warned" / "data"
    for path in (folder / "runs" / "mine" / "data").rglob("*.jpg"):
        assert (warned / path.relative_to(folder / "runs" / "mine" / "data")).exists()


def check_service(folder: Path) -> None:
    (checkpoint,) = SERVED.findall(PAGE)
    with serving(folder, PETALSCOPE_CHECKPOINT=str(folder / checkpoint)) as server:
        _, listed = server.request("GET", "/flowers")
        status, result = server.post((folder / "photos" / "rose" / "0.jpg").read_bytes())
    assert [item["display_name"] for item in listed["flowers"]] == ["Daisy", "Rose", "Wild tulip"]
    assert [item["url"] for item in listed["flowers"]] == [f"/flowers/{name}" for name in COLORS]
    assert status == 200
    assert {item["class_id"] for item in result["predictions"]} == set(COLORS)


def check_container(folder: Path) -> None:
    (command,) = re.findall(r"docker run (?:[^\n]*\\\n)*[^\n]*", PAGE)
    words = shlex.split(command.replace("\\\n", " ").replace("$PWD", str(folder)))
    source, target, _ = words[words.index("-v") + 1].split(":")
    assert words[words.index("-e") + 1] == f"PETALSCOPE_CHECKPOINT={target}"
    # The container's user is not the owner.
    assert Path(source).stat().st_mode & 0o004
