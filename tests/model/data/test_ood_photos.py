"""The two disjoint halves of OOD photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.data.ood_photos import ood_photos
from model.data.photo_folder import PhotoFolderError


def touch(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path, half: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in ood_photos(folder, half)]  # type: ignore[arg-type]


def test_photos_in_a_folder_alternate(tmp_path: Path) -> None:
    touch(tmp_path, ["d.png", "b.jpg", "a.webp", "c.jpeg", "notes.txt", "._b.jpg"])
    assert names(tmp_path, "all") == ["a.webp", "b.jpg", "c.jpeg", "d.png"]
    assert names(tmp_path, "train") == ["a.webp", "c.jpeg"]
    assert names(tmp_path, "eval") == ["b.jpg", "d.png"]


def test_a_small_sub_folder_belongs_to_one_half(tmp_path: Path) -> None:
    touch(tmp_path, ["iris/1.png", "iris/2.png", "tulip/1.png", "zinnia/1.png"])
    assert names(tmp_path, "train") == ["iris/1.png", "iris/2.png", "zinnia/1.png"]
    assert names(tmp_path, "eval") == ["tulip/1.png"]


def test_a_large_sub_folder_is_split(tmp_path: Path) -> None:
    touch(tmp_path, ["iris/1.png", *(f"tulip/{number:03}.png" for number in range(101))])
    for half in ("train", "eval"):
        inside = [name for name in names(tmp_path, half) if name.startswith("tulip/")]
        alone = names(tmp_path / "tulip", half)
        assert inside == [f"tulip/{name}" for name in alone]
    assert len(names(tmp_path, "train")) == 1 + 51
    assert len(names(tmp_path, "eval")) == 50


def test_deeper_folders_belong_to_their_sub_folder(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", "b.png", "iris/1.png", "tulip/red/1.png", "tulip/white/old/2.png"])
    assert names(tmp_path, "train") == ["a.png", "iris/1.png"]
    assert names(tmp_path, "eval") == ["b.png", "tulip/red/1.png", "tulip/white/old/2.png"]


@pytest.mark.parametrize("half", ["all", "train", "eval"])
def test_a_folder_without_photos_is_an_error(tmp_path: Path, half: str) -> None:
    touch(tmp_path, ["notes.txt", "empty/notes.txt"])
    with pytest.raises(PhotoFolderError):
        names(tmp_path, half)
    with pytest.raises(PhotoFolderError):
        names(tmp_path / "nowhere", half)
