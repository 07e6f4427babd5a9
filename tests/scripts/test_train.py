"""Command line of `train.py`."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from app import create_app
from app.settings import Settings
from model.checkpoint.format import read_metadata
from model.data.photo_folder import PhotoFolder
from scripts import evaluate, train
from tests.conftest import ROOT
from tests.model.training.conftest import interrupt_at

TINY = [
    "--backbone", "test_efficientnet", "--from-scratch", "--image-size", "64", "--batch-size", "8",
    "--workers", "0", "--device", "cpu",
]  # fmt: skip


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the script in another folder, as `python /path/to/scripts/train.py`."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_training")
def test_a_new_run_gets_its_own_folder_and_a_line_per_epoch(
    flower_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "--data", str(flower_folder), *TINY, "--epochs", "2", "--hidden-layers", "16", "8",
        "--dropout", "0.5",
    ]  # fmt: skip
    assert train.main(arguments) == 0
    out, err = capsys.readouterr()
    lines = [line.split()[1] for line in out.splitlines() if line.startswith("epoch")]
    assert lines == ["1/2", "2/2"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("test_efficientnet-")
    metadata = read_metadata(folder / "checkpoint.safetensors")
    assert metadata.architecture.hidden_layers == (16, 8)
    assert metadata.architecture.dropout == 0.5
    assert "\r" not in out + err  # only a terminal shows a progress bar


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_training")
def test_a_killed_run_can_be_resumed_with_the_same_result(
    flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(flower_folder), *TINY, "--epochs", "3"]
    assert train.main([*options, "--output", str(tmp_path / "whole")]) == 0
    process = start(*options, "--output", "killed", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("state-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    capsys.readouterr()
    assert train.main(["--resume", str(tmp_path / "killed")]) == 0
    assert "epoch 1/3" not in capsys.readouterr().out
    whole, killed = (
        load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "killed")
    )
    assert all(tensor.allclose(killed[name], rtol=1e-4) for name, tensor in whole.items())


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_training")
def test_ctrl_c_saves_the_state_and_names_the_command_to_resume(
    flower_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    interrupt_at(monkeypatch, 1)
    assert train.main(["--data", str(flower_folder), *TINY, "--output", "run"]) == 130
    out, err = capsys.readouterr()
    assert "train.py --resume run" in err
    assert "Traceback" not in out + err
    assert list((tmp_path / "run").glob("state-*"))


@pytest.mark.usefixtures("tiny_training")
@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--data", "nowhere"], "nowhere/train"),
        (["--backbone", "densnet161"], "densenet161"),
        (["--optimizer", "adamv"], "adamw"),
        (["--scheduler", "cosin"], "cosine"),
        (["--lr", "-1"], "--lr"),
        (["--image-size", "5000"], "--image-size"),
        (["--seed", "-1"], "--seed"),
        (["--distillation-temperature", "inf"], "--distillation-temperature"),
        (["--from-scratch", "--pretrained-path", "file"], "--initial-checkpoint"),
        (["--resume", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(
    flower_folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], fragment: str
) -> None:
    if "--data" not in arguments and "--resume" not in arguments:
        arguments = ["--data", str(flower_folder), *arguments]
    if not {"--pretrained-path", "--resume", "--backbone"} & set(arguments):
        arguments = [*TINY, *arguments]
    assert train.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert fragment in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("resume", [["--resume", "run"], ["--resume=run"]])
@pytest.mark.parametrize("other", [["--lr", "1"], ["--recipe", "lite2"], ["--recipe=lite2"]])
def test_resume_accepts_no_other_option(
    capsys: pytest.CaptureFixture[str], resume: list[str], other: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main([*resume, *other])
    assert caught.value.code == 2
    assert other[0].partition("=")[0] in capsys.readouterr().err


def test_resume_accepts_an_equals_sign(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--resume=nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["--recipe", "lite2", "--help"]])
def test_help_lists_recipe_and_resume(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main(arguments)
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert {"--recipe", "--resume", "--model-ema-decay"} <= set(re.findall(r"--[a-z-]+", out))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_training")
def test_two_processes_have_the_result_of_one(
    flower_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processes on a machine without a GPU agree on the folder of the run."""
    # ConvNeXt has no batch statistics, which would differ between processes. In bfloat16, the
    # order of sums would change the fourth digit.
    options = [
        "--data", str(flower_folder), *TINY, "--backbone", "test_convnext", "--device", "auto",
        "--epochs", "2", "--corruption-prob", "0.5", "--clip-grad", "0.1", "--precision", "no",
    ]  # fmt: skip
    assert train.main([*options, "--output", str(tmp_path / "one")]) == 0, capsys.readouterr().err
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, str(ROOT / "scripts" / "train.py"), *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "CPU × 2" in done.stdout

    (folder,) = (tmp_path / "runs").iterdir()
    one, two = (
        list(csv.DictReader((path / "history.csv").read_text().splitlines()))
        for path in (tmp_path / "one", folder)
    )
    for name in ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy"):
        got, expected = ([float(row[name]) for row in rows] for rows in (two, one))
        assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.usefixtures("tiny_training")
def test_densenet161_is_trained_evaluated_and_served(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Train for two steps from random weights, then evaluate and serve the checkpoint."""
    folder = tmp_path / "small"
    for part, count in (("train", 4), ("valid", 1)):
        for class_id in ("21", "100"):
            (folder / part / class_id).mkdir(parents=True)
            photos = sorted((data_dir / part / class_id).iterdir())[:count]
            for photo in photos:
                (folder / part / class_id / photo.name).symlink_to(photo)
    names = data_dir / "cat_to_name.json"
    arguments = [
        "--data", str(folder), "--category-names", str(names), "--from-scratch", "--epochs", "1",
        "--warmup-epochs", "0", "--batch-size", "4", "--image-size", "96", "--workers", "0",
        "--output", str(tmp_path / "run"),
    ]  # fmt: skip
    assert train.main(arguments) == 0
    out = capsys.readouterr().out
    assert "densenet161" in out
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    report = tmp_path / "report.json"
    arguments = [str(checkpoint), "--data", str(folder), "--workers", "0", "--json", str(report)]
    assert evaluate.main(arguments) == 0
    assert "valid" in json.dumps(json.loads(report.read_text()))

    client = create_app(Settings(checkpoint=checkpoint)).test_client()
    photo = Path(PhotoFolder(folder / "valid", lambda image: image).samples[0][0])
    response = client.post("/predict?top_k=2", data=photo.read_bytes(), content_type="image/webp")
    assert response.status_code == 200
    predictions = response.get_json()["predictions"]
    assert {item["name"] for item in predictions} == {"blanket flower", "fire lily"}
    assert sum(item["probability"] for item in predictions) == pytest.approx(1, abs=1e-5)
    assert response.get_json()["model"]["architecture"] == "densenet161"
