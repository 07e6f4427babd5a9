"""Photos of none of the classes: half to train on, half to measure on.

FOLDER of photos, or of sub-folders of photos -> "training" | "measuring" | "all" -> paths
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from model.data.photo_folder import PhotoFolderError, class_folders
from model.imaging.decode import IMAGE_SUFFIXES

Half = Literal["all", "training", "measuring"]

# A sub-folder with more photos than this does not fall to one half as a whole.
_LARGE: Final = 100


def ood_photos(folder: Path, half: Half = "all") -> list[Path]:
    """List photos of none of the classes, sorted by path.

    Sub-folders, such as one for each species, fall to the halves in turn, so that measuring sees
    species that training did not. Photos that lie in the folder itself, and those of a sub-folder
    of more than 100, fall to them in turn by photo. Training has the first of each. What lies
    deeper belongs to the sub-folder that it lies in.

    Args:
        folder: It holds photos, or sub-folders of photos.
        half: Which half to list, or all.

    Raises:
        PhotoFolderError: There is no such folder, or it holds no photos.
    """
    names = class_folders(folder)
    listed = [_photos(folder.iterdir())]  # groups of which every other photo is taken
    whole = []  # groups that are taken as they are
    for number, name in enumerate(names):
        photos = _photos((folder / name).rglob("*"))
        if len(photos) > _LARGE:
            listed.append(photos)
        elif half == "all" or number % 2 == (half == "measuring"):
            whole.append(photos)
    if half != "all":
        listed = [photos[half == "measuring" :: 2] for photos in listed]
    paths = sorted(path for group in (*listed, *whole) for path in group)
    if not paths:
        raise PhotoFolderError(f"{folder} holds no photos.")
    return paths


def _photos(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES)
