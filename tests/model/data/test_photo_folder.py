"""Class folders and the photos in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.data.photo_folder import PhotoFolder, PhotoFolderError, class_folders


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(folder: Path) -> list[str]:
    photos = PhotoFolder(folder, lambda image: image)
    return [Path(path).relative_to(folder).as_posix() for path, _ in photos.samples]


def test_hidden_files_and_system_folders_are_not_photos_or_classes(tmp_path: Path) -> None:
    touch(tmp_path, "rose/1.jpg", "rose/._1.jpg", "rose/.2.png", "rose/notes.txt", "tulip/1.JPG")
    touch(tmp_path, "__MACOSX/rose/._1.jpg", ".thumbnails/1.jpg", "rose/@eaDir/1.jpg/XL.jpg")
    touch(tmp_path, "@eaDir/1.jpg", "readme.jpg", "rose/garden/3.webp")
    assert class_folders(tmp_path) == ["rose", "tulip"]
    assert names(tmp_path) == ["rose/1.jpg", "rose/garden/3.webp", "tulip/1.JPG"]


def test_every_class_without_photos_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "rose/1.jpg", "tulip/._1.jpg", "märzen becher/1.txt")
    (tmp_path / "iris").mkdir()
    with pytest.raises(PhotoFolderError, match="iris, märzen becher, tulip"):
        names(tmp_path)


def test_a_message_names_five_classes_and_counts_the_others(tmp_path: Path) -> None:
    for number in range(10, 22):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(PhotoFolderError, match="14 and 7 more"):
        names(tmp_path)
