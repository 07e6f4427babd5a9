"""Layouts of people's own photos: named class folders, and one folder that is split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model.checkpoint.format import read_metadata
from model.checkpoint.labels import FlowerClass, LabelsError
from model.data.photo_folder import PhotoFolderError
from model.errors import PetalscopeError
from model.imaging.transforms import EvaluationTransform
from model.training.config import ConfigError, TrainingConfig
from model.training.data import photo_folders, training_photos
from model.training.data_folders import find_classes, split_data
from model.training.run_folder import read_config
from model.training.trainer import Interrupted, train
from scripts import evaluate
from tests.conftest import TINY_CLASSES
from tests.model.training.conftest import interrupt_at

TRANSFORM = EvaluationTransform(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
Options = Callable[..., TrainingConfig]
NAMES = sorted(item.name for item in TINY_CLASSES)


@pytest.fixture
def photos(flower_folder: Path, tmp_path: Path) -> Path:
    """Return one folder with six photos in a folder named after each tiny class."""
    for item in TINY_CLASSES:
        shutil.copytree(flower_folder / "train" / item.class_id, tmp_path / "photos" / item.name)
    return tmp_path / "photos"


def test_classes_are_named_by_their_folders(tiny_options: Options, photos: Path) -> None:
    for part in ("train", "valid"):
        shutil.copytree(photos, photos.parent / "mine" / part)
    classes = find_classes(tiny_options(data=photos.parent / "mine"))
    assert classes == tuple(FlowerClass(name, name) for name in NAMES)


def test_a_names_file_renames_folders(tiny_options: Options, photos: Path) -> None:
    names = {name: name.upper() for name in NAMES}
    (photos / "cat_to_name.json").write_text(json.dumps(names))
    options = tiny_options(data=photos, valid_fraction=0.2)
    split_data(options)
    assert [item.name for item in find_classes(options)] == [name.upper() for name in NAMES]


def test_numbered_folders_need_names(tiny_options: Options, own_folder: Path) -> None:
    (own_folder / "cat_to_name.json").unlink()
    with pytest.raises(LabelsError, match=r"cat_to_name\.json"):
        find_classes(tiny_options(data=own_folder))


def test_one_class_is_refused(tiny_options: Options, own_folder: Path) -> None:
    for part in ("train", "valid"):
        for folder in (own_folder / part).iterdir():
            if folder.name != "21":
                shutil.rmtree(folder)
    with pytest.raises(LabelsError, match="21"):
        find_classes(tiny_options(data=own_folder))


def test_a_folder_that_is_not_split_names_the_option(tiny_options: Options, photos: Path) -> None:
    with pytest.raises(PhotoFolderError, match=f"--data {photos} --valid-fraction"):
        find_classes(tiny_options(data=photos))
    mine = photos.parent / "mine"
    mine.mkdir()
    photos.rename(mine / "train")
    with pytest.raises(PhotoFolderError, match=f"--data {mine}/train --valid-fraction"):
        find_classes(tiny_options(data=mine))


def test_the_split_can_be_joined_with_other_photos(tiny_options: Options, photos: Path) -> None:
    shutil.copytree(photos / "fire lily", photos.parent / "more" / "fire lily")
    options = tiny_options(
        data=photos,
        valid_fraction=0.34,
        train_data=(Path("train"), Path("../more")),
        exclude=("fire lily/image_0", "globe thistle/image_1"),
    )
    split_data(options)
    samples = training_photos(options, find_classes(options), TRANSFORM).samples
    # Two photos of each class are in valid.
    assert [sample.source for sample in samples] == [0] * (6 * 4 - 2) + [1] * 5


def test_a_missing_excluded_photo_is_named(tiny_options: Options, photos: Path) -> None:
    options = tiny_options(data=photos, valid_fraction=0.2, exclude=("fire lily/nothing",))
    split_data(options)
    with pytest.raises(PhotoFolderError, match="fire lily/nothing"):
        training_photos(options, find_classes(options), TRANSFORM)


def test_ood_photos_must_not_be_a_class_of_the_split(tiny_options: Options, photos: Path) -> None:
    options = tiny_options(data=photos, valid_fraction=0.2, ood_data=(Path("fire lily"),))
    split_data(options)
    with pytest.raises(PhotoFolderError, match="fire lily"):
        find_classes(options)


@pytest.mark.parametrize("name", ["train_data", "ood_data", "ood_data_half", "paste_backgrounds"])
def test_a_missing_folder_names_its_option(tiny_options: Options, photos: Path, name: str) -> None:
    options = tiny_options(data=photos, valid_fraction=0.2, **{name: (Path("../nowhere"),)})
    split_data(options)
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(PhotoFolderError, match=f"{option} ../nowhere: .*{option} "):
        find_classes(options)


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 20])
def test_the_fraction_has_a_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match="--valid-fraction"):
        TrainingConfig(valid_fraction=fraction)


@pytest.mark.slow
def test_folders_with_odd_names_are_trained_and_evaluated(
    tiny_options: Options, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("-n", "$x_1$ | y", 'rose "Alba"', "colt's foot", "バラ", "x" * 250)
    for folder, name in zip(sorted(photos.iterdir()), names, strict=True):
        folder.rename(photos / name)
    checkpoint = train(tiny_options(data=photos, valid_fraction=0.2, epochs=1, warmup_epochs=0))
    classes = read_metadata(checkpoint).classes
    assert classes == tuple(FlowerClass(name, name) for name in sorted(names))
    arguments = [str(checkpoint), "--data", str(checkpoint.parent / "data"), "--workers", "0"]
    matrix = tmp_path / "matrix.png"
    arguments += ["--device", "cpu", "--confusion-matrix", str(matrix)]
    assert evaluate.main(arguments) == 0, capsys.readouterr().err
    assert matrix.exists()


@pytest.mark.slow
def test_a_damaged_photo_of_a_split_is_named_by_its_own_path(
    tiny_options: Options, photos: Path
) -> None:
    damaged = photos / "fire lily" / "image_3.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    with pytest.raises(PhotoFolderError, match=str(damaged)):
        train(tiny_options(data=photos, valid_fraction=0.34))


def test_photos_come_from_the_folder_that_is_split(tiny_options: Options, photos: Path) -> None:
    folders = {"train_data": (Path("train"), Path("../more")), "ood_data": (Path("../unknown"),)}
    options = tiny_options(data=photos, valid_fraction=0.2, **folders)
    assert photo_folders(options) == [photos, photos / "../more", photos / "../unknown"]


@pytest.mark.slow
def test_a_run_that_cannot_start_leaves_its_folder_empty(
    tiny_options: Options, photos: Path
) -> None:
    options = tiny_options(data=photos, valid_fraction=0.2, optimizer="nonsense")
    with pytest.raises(PetalscopeError):
        train(options)
    assert options.output is not None
    assert list(options.output.iterdir()) == []


@pytest.mark.slow
def test_a_resumed_run_keeps_its_split_and_can_be_evaluated_on_it(
    tiny_options: Options,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = tiny_options(data=photos, valid_fraction=0.34, split_seed=7)
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(Interrupted):
            train(options)
    shutil.copy(photos / "fire lily" / "image_0.png", photos / "fire lily" / "new.png")
    checkpoint = train(read_config(output), resume=True)
    metadata = read_metadata(checkpoint)
    assert [item.name for item in metadata.classes] == NAMES
    assert metadata.training["train_photos"] == 24
    assert metadata.training["valid_fraction"] == 0.34
    assert metadata.training["split_seed"] == 7

    report = tmp_path / "report.json"
    arguments = [str(checkpoint), "--workers", "0", "--device", "cpu", "--json", str(report)]
    assert evaluate.main(arguments) == 0
    valid = json.loads(report.read_text())["sets"]["valid"]
    assert valid["n"] == 12
    assert valid["top1"] == pytest.approx(metadata.metrics["valid"]["top1"])
