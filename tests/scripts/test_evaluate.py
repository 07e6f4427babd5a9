"""Command line of `evaluate.py`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from model.checkpoint.labels import name_classes, read_category_names
from model.evaluation.metrics import wilson_interval
from model.evaluation.model_card import BEGIN, END
from model.ood import OodRule
from model.training.config import TrainingConfig
from model.training.run_folder import write_config
from scripts.evaluate import main
from tests.conftest import ROOT, TINY_CLASSES, flower_image
from tests.fake_checkpoint import always, save_fake_checkpoint

CLASS_IDS = [item.class_id for item in TINY_CLASSES]  # 1, 10, 100, 2, 21, 5
FIRE_LILY = 4  # index of class 21


def add_photos(folder: Path, counts: dict[str, int]) -> Path:
    for class_id, count in counts.items():
        (folder / class_id).mkdir(parents=True)
        for number in range(count):
            flower_image((180, 200), number).save(folder / class_id / f"{number}.png")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write a data folder whose valid/ has one photo of each class, and three of class 21."""
    add_photos(tmp_path / "data" / "valid", dict.fromkeys(CLASS_IDS, 1) | {"21": 3})
    return tmp_path / "data"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Save a checkpoint that classifies every photo as class 21, fire lily."""
    return save_fake_checkpoint(tmp_path / "fake.safetensors", always(FIRE_LILY))


def test_the_report_has_the_accuracy_and_the_worst_classes(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "valid" / "21" / "photo.HEIC").touch()
    assert main([str(checkpoint), "--data", str(data), "--workers", "0", "--worst", "4"]) == 0
    output, error = capsys.readouterr()
    assert "1 .heic" in error
    low, high = (100 * bound for bound in wilson_interval(3, 8))
    assert f"37.50 % [{low:.2f}, {high:.2f}]" in output
    # Classes 10, 100, 2 and 5 are ranked second to fifth; class 1 is the last.
    assert "87.50 % [" in output
    worst = [line for line in output.splitlines() if line.endswith("fire lily (21)")]
    ids = [line.partition("(")[2].partition(")")[0] for line in worst]
    assert ids == ["1", "10", "100", "2"]
    assert all("0 of 1" in line for line in worst)


def test_the_json_has_the_metrics_and_their_provenance(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new folder" / "report.json"
    arguments = [str(checkpoint), "--data", str(data), "--workers", "0", "--json", str(file)]
    assert main(arguments) == 0
    report = json.loads(file.read_text())
    assert report["checkpoint"]["file"] == "fake.safetensors"
    assert len(report["checkpoint"]["version"]) == 12
    assert report["transform"]["crop"] == 160
    assert report["command"].startswith("python scripts/evaluate.py ")
    assert f"--json '{file}'" in report["command"]
    valid = report["sets"]["valid"]
    assert (valid["n"], valid["top1"], valid["top5"]) == (8, 0.375, 0.875)
    assert (valid["top1_low"], valid["top1_high"]) == wilson_interval(3, 8)
    assert list(valid["per_class"]) == CLASS_IDS
    assert valid["per_class"]["21"]["name"] == "fire lily"
    assert valid["per_class"]["21"]["accuracy"] == 1
    assert valid["per_class"]["2"] == {
        "name": "hard-leaved pocket orchid",
        "n": 1,
        "accuracy": 0,
        "confused_with": "21",
        "confused_n": 1,
    }
    assert valid["confusions"] == [
        {"class_id": class_id, "predicted": "21", "n": 1}
        for class_id in CLASS_IDS
        if class_id != "21"
    ]
    assert len(valid["calibration_bins"]) == 15


@pytest.mark.slow
def test_several_named_sets_are_evaluated(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    garden = add_photos(tmp_path / "a=b", {"21": 2})
    arguments = [str(checkpoint), "--workers", "0", "--json", str(tmp_path / "report.json")]
    arguments += ["--set", f"oxford={data / 'valid'}", "--set", f"garden={garden}"]
    arguments += ["--reliability", str(tmp_path / "bins.png")]
    assert main(arguments) == 0
    sets = json.loads((tmp_path / "report.json").read_text())["sets"]
    assert {name: (row["n"], row["top1"]) for name, row in sets.items()} == {
        "oxford": (8, 0.375),
        "garden": (2, 1),
    }
    assert list(sets["garden"]["per_class"]) == ["21"]
    assert "confidence_wrong" not in sets["garden"]
    assert {path.name for path in tmp_path.glob("*.png")} == {"bins-oxford.png", "bins-garden.png"}


def test_the_data_of_the_run_is_the_default(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETALSCOPE_DATA", str(tmp_path / "other"))
    write_config(checkpoint.parent, TrainingConfig(data=data))
    report = tmp_path / "report.json"
    assert main([str(checkpoint), "--workers", "0", "--json", str(report)]) == 0
    assert json.loads(report.read_text())["sets"]["valid"]["n"] == 8
    data.rename(tmp_path / "other")
    assert main([str(checkpoint), "--workers", "0", "--json", str(report)]) == 0


@pytest.mark.slow
def test_plots_are_written(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    matrix, diagram = tmp_path / "matrix.png", tmp_path / "diagram.png"
    arguments = [str(checkpoint), "--data", str(data), "--workers", "0"]
    assert main([*arguments, "--confusion-matrix", str(matrix), "--reliability", str(diagram)]) == 0
    for path in (matrix, diagram):
        with Image.open(path) as image:
            assert min(image.size) > 300


def test_a_class_that_the_checkpoint_lacks_is_exit_code_1(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = add_photos(tmp_path / "other", {"21": 1, "77": 1})
    assert main([str(checkpoint), "--set", f"other={folder}"]) == 1
    output, error = capsys.readouterr()
    assert output == ""
    assert error.count("\n") == 1
    assert "77" in error


def test_an_unreadable_photo_is_named_on_one_line(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = data / "valid" / "2" / "0.png"
    damaged.write_bytes(b"no photo")
    assert main([str(checkpoint), "--data", str(data), "--workers", "0"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {damaged}: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["c", "--set", "valid"],
        ["c", "--set", "a/b=folder"],
        ["c", "--set", "=folder"],
        ["c", "--set", "a=x", "--set", "a=y"],
        ["c", "--set", "a=x", "--split", "test"],
        ["c", "--set", "a=x", "--ood", "a=y"],
        ["c", "--ood", "y"],
        ["c", "--ood-half", "y"],
        ["c", "--ood", "a=x", "--ood-half", "a=y"],
        ["c", "--batch-size", "0"],
        ["c", "--confusion-matrix", "matrix.txt"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_an_unwritable_report_fails_before_the_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    missing = str(tmp_path / "no checkpoint")
    assert main([missing, "--json", str(tmp_path / "file" / "report.json")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.slow
def test_the_script_runs_as_a_program(checkpoint: Path, data: Path) -> None:
    result = subprocess.run(
        [sys.executable, "scripts/evaluate.py", checkpoint, "--data", data, "--workers", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "37.50 %" in result.stdout


@pytest.mark.slow
@pytest.mark.data
def test_real_photos_are_evaluated_with_their_own_classes(data_dir: Path, tmp_path: Path) -> None:
    names = read_category_names(data_dir / "cat_to_name.json")
    classes = name_classes(sorted(names), names)
    fire_lily = [item.class_id for item in classes].index("21")
    logits = [9.0 if index == fire_lily else 0.0 for index in range(len(classes))]
    checkpoint = save_fake_checkpoint(tmp_path / "real.safetensors", logits, classes=classes)
    counts = dict.fromkeys(sorted({*sorted(names)[::3], "21"}), 1) | {"21": 3}
    for class_id, count in counts.items():
        (tmp_path / "set" / class_id).mkdir(parents=True)
        for photo in sorted((data_dir / "valid" / class_id).iterdir())[:count]:
            shutil.copy(photo, tmp_path / "set" / class_id)
    arguments = [str(checkpoint), "--set", f"real={tmp_path / 'set'}"]
    assert main([*arguments, "--json", str(tmp_path / "report.json")]) == 0
    real = json.loads((tmp_path / "report.json").read_text())["sets"]["real"]
    assert {class_id: row["n"] for class_id, row in real["per_class"].items()} == counts
    assert real["n"] == sum(counts.values())
    assert [item for item, row in real["per_class"].items() if row["accuracy"] == 1] == ["21"]


@pytest.mark.slow
def test_ood_photos_are_compared_with_every_set(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = OodRule("max_logit", 5.0)
    path = save_fake_checkpoint(tmp_path / "fake.safetensors", always(FIRE_LILY), ood_rule=rule)
    folder = tmp_path / "ood"
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "tulip/1.png", "tulip/2.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        flower_image((90, 90)).save(folder / name)
    card, report = tmp_path / "card.md", tmp_path / "report.json"
    card.write_text(f"# Card\n{BEGIN}\n{END}\n", encoding="utf-8")
    common = [str(path), "--data", str(data), "--workers", "0"]
    sets = ["--ood", f"all={folder}", "--ood", f"pets={folder}/,-dog,-tulip"]
    sets += ["--ood-half", f"half={folder}"]
    outputs = ["--json", str(report), "--card", str(card), "--corruptions", "valid"]
    assert main([*common, *sets, *outputs]) == 0
    values = json.loads(report.read_text())
    assert {name: item["n"] for name, item in values["ood"].items()} == {
        "all": 5,
        "pets": 2,
        "half": 1,
    }
    # All logits are equal, so no score separates the sets.
    for item in values["ood"].values():
        assert item["verdicts"]["unknown"] == 0
        assert item["against"]["valid"]["energy"] == {"auroc": 0.5, "fpr95": 1.0}
    assert values["sets"]["valid"]["verdicts"]["known_top1"] == 3 / 8
    assert set(values["corruptions"]["valid"].values()) == {3 / 8}
    text = card.read_text(encoding="utf-8")
    assert "37.50 %" in text
    assert "pets" in text
    assert "`max_logit`" in text
    assert f"--ood pets={folder}/,-dog,-tulip" in text


@pytest.mark.parametrize(
    ("excluded", "fragment"), [("-dog", "dog"), ("-dogs", "dogs"), ("-dog,-cow", "cow")]
)
def test_a_misspelt_or_complete_exclusion_is_exit_code_1(
    checkpoint: Path,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    excluded: str,
    fragment: str,
) -> None:
    (tmp_path / "ood" / "dog").mkdir(parents=True)
    flower_image((90, 90)).save(tmp_path / "ood" / "dog" / "1.png")
    assert (
        main([str(checkpoint), "--data", str(data), "--ood", f"a={tmp_path}/ood,{excluded}"]) == 1
    )
    assert fragment in capsys.readouterr().err


def test_the_card_of_a_checkpoint_without_a_rule_uses_probabilities(
    checkpoint: Path, tmp_path: Path, data: Path
) -> None:
    add_photos(tmp_path / "ood", {"cat": 2})
    card = tmp_path / "card.md"
    card.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    arguments = [str(checkpoint), "--data", str(data), "--workers", "0", "--card", str(card)]
    assert main([*arguments, "--ood", f"pets={tmp_path / 'ood'}"]) == 0
    text = card.read_text(encoding="utf-8")
    assert "pets" in text
    assert "`probability`" in text


def test_a_card_without_markers_fails_before_the_evaluation(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card.md").write_text("# Card\n", encoding="utf-8")
    assert main([str(checkpoint), "--data", "nowhere", "--card", str(tmp_path / "card.md")]) == 1
    assert BEGIN in capsys.readouterr().err


def test_the_image_size_is_an_option(
    tiny_checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for size in ([], ["--eval-resize", "90", "--eval-crop", "80"]):
        assert main([str(tiny_checkpoint), "--data", str(data), "--workers", "0", *size]) == 0
        lines = capsys.readouterr().out.splitlines()
        rows += [line for line in lines if line.startswith("valid ")]
    assert rows[0] != rows[1]


def test_a_crop_larger_than_the_photo_is_an_error(
    tiny_checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_checkpoint), "--data", str(data), "--eval-crop", "2000"]) == 1
    assert "--eval-crop" in capsys.readouterr().err
