"""OOD photos, split into a half for training and a half for evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from model.data.photo_folder import PhotoFolderError, class_folders, is_photo_file

Half = Literal["all", "train", "eval"]

_LARGE: Final = 100  # photos, above which a sub-folder is split itself


def ood_photos(folder: Path, half: Half = "all") -> list[Path]:
    """Return the OOD photos of a folder, sorted by path.

    Sub-folders, such as one per species, go to the halves alternately, so that evaluation sees
    species that training did not. Photos directly in the folder, and those of a sub-folder with
    more than 100, alternate one by one. The train half gets the first of each. A sub-folder
    includes all folders below it.

    Args:
        folder: Folder of photos, or of sub-folders of photos.
        half: Half to return, or "all".

    Raises:
        PhotoFolderError: The folder is missing or has no photos.
    """
    names = class_folders(folder)
    alternating = [_photos(folder.iterdir())]
    whole = []
    for number, name in enumerate(names):
        photos = _photos((folder / name).rglob("*"))
        if len(photos) > _LARGE:
            alternating.append(photos)
        elif half == "all" or number % 2 == (half == "eval"):
            whole.append(photos)
    if half != "all":
        alternating = [photos[half == "eval" :: 2] for photos in alternating]
    paths = sorted(path for group in (*alternating, *whole) for path in group)
    if not paths:
        raise PhotoFolderError(f"{folder} has no photos.")
    return paths


def _photos(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if is_photo_file(path))
