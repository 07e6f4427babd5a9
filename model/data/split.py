"""A seeded split of one folder of class folders into train/ and valid/."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import Final

from model.data import NAMES_FILE
from model.data.photo_folder import PhotoFolder, PhotoFolderError
from model.errors import join_names

PARTS: Final = ("train", "valid")


def split_photos(
    folder: Path,
    target: Path,
    *,
    valid_fraction: float,
    seed: int,
    excluded: Collection[str] = (),
) -> None:
    """Link the photos of `folder` from `target`/train and `target`/valid.

    Each class gives valid/ its fraction of the photos, rounded, but at least one, and keeps at
    least one in train/. The choice depends only on the seed, the photos' names and the fraction.
    A larger fraction only adds photos to valid/.

    Args:
        folder: Folder of class folders.
        target: Folder to create.
        valid_fraction: Fraction of each class in valid/, above 0 and below 1.
        seed: Random seed.
        excluded: Photos that get into neither part, as `photo_key`.

    Raises:
        PhotoFolderError: `folder` is missing or split already, a class has fewer than two photos,
            or the disk of `target` has no symbolic links.
        OSError: `target` exists or is not writable.
    """
    photos = PhotoFolder(folder, lambda image: image)
    if already := [part for part in PARTS if part in photos.classes]:
        raise PhotoFolderError(
            f"{folder} has a folder {already[0]}/, so that it seems to be split already; remove "
            "--valid-fraction, or give the folder that holds only the class folders."
        )
    by_class: dict[str, list[Path]] = {class_id: [] for class_id in photos.classes}
    for path, index in photos.samples:
        if photo_key(Path(path)) not in excluded:
            by_class[photos.classes[index]].append(Path(path).relative_to(folder))
    if small := [class_id for class_id, paths in by_class.items() if len(paths) < len(PARTS)]:
        raise PhotoFolderError(
            f"Class {join_names(small)} of {folder} has fewer than two photos, one for training "
            "and one for validation; add photos or remove the folder."
        )
    target.mkdir(parents=True)
    for paths in by_class.values():
        # Unlike a shuffle, the order of hashes hardly changes when photos are added.
        paths.sort(key=lambda path: _rank(seed, path))
        count = min(max(1, round(valid_fraction * len(paths))), len(paths) - 1)
        for part, chosen in (("valid", paths[:count]), ("train", paths[count:])):
            for path in chosen:
                _link(target / part / path, folder / path)
    if (folder / NAMES_FILE).exists():
        _link(target / NAMES_FILE, folder / NAMES_FILE)


def photo_key(path: Path) -> str:
    """Return CLASS/NAME of a photo, without suffix, because copies differ in file format."""
    return f"{path.parent.name}/{path.stem}"


def _rank(seed: int, path: Path) -> bytes:
    # File names may hold any bytes.
    return sha256(f"{seed}/{path.as_posix()}".encode(errors="surrogateescape")).digest()


def _link(link: Path, photo: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(photo.absolute())
    except OSError as error:
        raise PhotoFolderError(
            f"{link} cannot be made a symbolic link ({error.strerror}); give another folder with "
            "--output, or make train/ and valid/ yourself and remove --valid-fraction."
        ) from error
