"""The seeded split of one folder of class folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.data.photo_folder import PhotoFolderError
from model.data.split import split_photos
from tests.model.data.test_photo_folder import touch

COUNTS = {"daisy": 2, "rose": 10, "märzen becher": 3, "tulip": 41}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with as many photos of each class as `COUNTS` says."""
    files = [f"{name}/{number}.jpg" for name, count in COUNTS.items() for number in range(count)]
    return touch(tmp_path / "photos", *files)


def split(
    photos: Path,
    target: Path,
    fraction: float = 0.2,
    seed: int = 0,
    excluded: tuple[str, ...] = (),
) -> dict[str, set[str]]:
    """Split the photos, and return the paths in each part."""
    split_photos(photos, target, valid_fraction=fraction, seed=seed, excluded=excluded)
    return {
        part: {
            path.relative_to(target / part).as_posix()
            for path in (target / part).rglob("*")
            if path.is_file()
        }
        for part in ("train", "valid")
    }


def counts(part: set[str]) -> dict[str, int]:
    return {name: sum(path.startswith(f"{name}/") for path in part) for name in COUNTS}


def everything(photos: Path) -> set[str]:
    return {path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg")}


@pytest.mark.parametrize(
    ("fraction", "valid"),
    [(0.2, (1, 2, 1, 8)), (0.001, (1, 1, 1, 1)), (0.5, (1, 5, 2, 20)), (0.999, (1, 9, 2, 40))],
)
def test_each_class_gives_its_fraction_and_both_parts_have_every_class(
    photos: Path, tmp_path: Path, fraction: float, valid: tuple[int, ...]
) -> None:
    parts = split(photos, tmp_path / "split", fraction)
    assert tuple(counts(parts["valid"]).values()) == valid
    assert parts["train"] | parts["valid"] == everything(photos)
    assert parts["train"] & parts["valid"] == set()


def test_the_seed_alone_decides(photos: Path, tmp_path: Path) -> None:
    first = split(photos, tmp_path / "first")
    assert split(photos, tmp_path / "again") == first
    assert split(photos, tmp_path / "other", seed=1) != first


def test_the_split_does_not_depend_on_the_folder(photos: Path, tmp_path: Path) -> None:
    first = split(photos, tmp_path / "first")
    moved = photos.rename(tmp_path / "moved")
    assert split(moved, tmp_path / "again") == first


def test_a_larger_fraction_only_adds_photos_to_valid(photos: Path, tmp_path: Path) -> None:
    small = split(photos, tmp_path / "small", 0.2)
    large = split(photos, tmp_path / "large", 0.4)
    assert small["valid"] < large["valid"]


def test_one_more_photo_moves_at_most_one_other(photos: Path, tmp_path: Path) -> None:
    before = split(photos, tmp_path / "before")
    touch(photos, "tulip/new.jpg")
    after = split(photos, tmp_path / "after")
    assert len((before["valid"] ^ after["valid"]) - {"tulip/new.jpg"}) <= 1


def test_the_parts_link_to_the_photos(photos: Path, tmp_path: Path) -> None:
    touch(photos, "rose/garden/deep.jpg", "rose/._1.jpg")
    (photos / "rose" / "1.jpg").write_bytes(b"a photo")
    (photos / "cat_to_name.json").write_text(json.dumps({"rose": "Rose"}))
    parts = split(photos, tmp_path / "split", 0.5)
    assert "rose/garden/deep.jpg" in parts["train"] | parts["valid"]
    assert "rose/._1.jpg" not in parts["train"] | parts["valid"]
    (link,) = (tmp_path / "split").glob("*/rose/1.jpg")
    assert link.read_bytes() == b"a photo"
    assert link.is_symlink()
    names = json.loads((tmp_path / "split" / "cat_to_name.json").read_text())
    assert names == {"rose": "Rose"}


def test_a_relative_folder_can_be_split(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = split(Path("photos"), Path("runs") / "split")
    assert parts["train"] | parts["valid"] == everything(photos)


def test_excluded_photos_are_in_neither_part(photos: Path, tmp_path: Path) -> None:
    parts = split(photos, tmp_path / "split", excluded=("rose/3", "tulip/7"))
    assert everything(photos) - parts["train"] - parts["valid"] == {"rose/3.jpg", "tulip/7.jpg"}


def test_a_class_with_one_photo_is_named(photos: Path, tmp_path: Path) -> None:
    touch(photos, "iris/1.jpg", "lily/1.jpg")
    with pytest.raises(PhotoFolderError, match="iris, lily"):
        split(photos, tmp_path / "split")
    assert not (tmp_path / "split").exists()


def test_a_split_folder_is_not_split_again(photos: Path, tmp_path: Path) -> None:
    touch(tmp_path / "whole", "train/rose/1.jpg", "valid/rose/2.jpg")
    with pytest.raises(PhotoFolderError, match="--valid-fraction"):
        split(tmp_path / "whole", tmp_path / "split")


def test_existing_files_are_never_replaced(photos: Path) -> None:
    before = everything(photos)
    with pytest.raises(FileExistsError):
        split(photos, photos)
    assert everything(photos) == before


def test_a_disk_without_links_is_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(PhotoFolderError, match="--output"):
        split(photos, tmp_path / "split")
