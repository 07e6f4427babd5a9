"""Labelled photos in class folders, FOLDER/<class id>/<photo>."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from torchvision.datasets import DatasetFolder

from model.errors import PetalscopeError, join_names
from model.imaging.decode import decode_image
from model.imaging.formats import FORMAT_NAMES, IMAGE_SUFFIXES, ImageError

_MAX_WORKERS: Final = 8
# Folders that archives and network storage add to folders of photos.
_SYSTEM_FOLDERS: Final = ("__MACOSX", "@eaDir")


class PhotoFolderError(PetalscopeError):
    """A folder that is not a folder of class folders with photos."""


class UnreadablePhotoError(PhotoFolderError):
    """A photo that cannot be decoded; the message names it."""

    def __init__(self, message: str) -> None:
        # A data loader's worker process re-raises with its traceback before the message.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


class PhotoFolder(DatasetFolder):  # type: ignore[misc]  # torchvision is not typed
    """A torchvision data set of a folder with a sub-folder of photos for each class.

    Attributes:
        classes: Class ids in index order.
        samples: Paths with class indices.
        targets: The class index of each sample.
    """

    def __init__(
        self,
        folder: Path,
        transform: Callable[[Image.Image], Any],
        *,
        class_ids: Sequence[str] | None = None,
        target_side: int | None = None,
    ) -> None:
        """List the photos without opening them.

        Args:
            folder: The folder of class folders.
            transform: Function from an upright RGB image to an array or tensor.
            class_ids: All classes in index order; the folder may hold only some of them. None
                uses the names of the sub-folders, sorted as text.
            target_side: See `decode_image`.

        Raises:
            PhotoFolderError: The folder is missing or has no class folders, or a class folder is
                not in `class_ids` or has no photos.
        """
        self._class_ids = class_ids
        self._target_side = target_side
        if not folder.is_dir():
            raise PhotoFolderError(f"The folder {folder} does not exist.")
        super().__init__(
            str(folder),
            self._decode,
            is_valid_file=is_photo_file,
            transform=transform,
            allow_empty=True,
        )
        found = {index for _, index in self.samples}
        empty = [
            class_id
            for class_id in class_folders(folder)
            if self.class_to_idx[class_id] not in found
        ]
        if empty:
            raise PhotoFolderError(
                f"{folder} has no photos for class {join_names(empty)}; "
                f"add {FORMAT_NAMES} files or remove the folder."
            )

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Return the class ids in index order, and the index of each."""
        found = class_folders(Path(directory))
        if not found:
            raise PhotoFolderError(
                f"{directory} has no class folders: it needs one folder of photos per class."
            )
        classes = list(self._class_ids) if self._class_ids is not None else found
        unexpected = [class_id for class_id in found if class_id not in classes]
        if unexpected:
            raise PhotoFolderError(
                f"{directory} has a folder for class {join_names(unexpected)}, "
                "which is not one of the checkpoint's or the training's classes."
            )
        return classes, {class_id: index for index, class_id in enumerate(classes)}

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one photo, transformed, and its class index.

        Raises:
            UnreadablePhotoError: The photo cannot be decoded.
        """
        image, target = super().__getitem__(index)
        return torch.as_tensor(image), target

    def _decode(self, path: str) -> Image.Image:
        return decode_photo(Path(path), self._target_side)


def decode_photo(path: Path, target_side: int | None = None) -> Image.Image:
    """Decode a photo of a data set with `decode_image`.

    Raises:
        UnreadablePhotoError: The photo cannot be decoded.
    """
    try:
        return decode_image(path, target_side=target_side)
    except (ImageError, OSError) as error:
        reason = error if isinstance(error, ImageError) else "The file cannot be read."
        # The links of a split are removed if the training does not start.
        photo = path.readlink() if path.is_symlink() else path
        raise UnreadablePhotoError(f"{photo}: {reason}") from error


def default_workers() -> int:
    """Return the default number of decoding processes: one per core, at most 8."""
    return min(os.cpu_count() or 1, _MAX_WORKERS)


def class_folders(folder: Path) -> list[str]:
    """Return the names of a folder's sub-folders, sorted as text: the class ids in index order.

    Hidden folders, and folders that an operating system added, are left out.

    Raises:
        PhotoFolderError: The folder is missing.
    """
    if not folder.is_dir():
        raise PhotoFolderError(f"The folder {folder} does not exist.")
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name[0] != "." and entry.name not in _SYSTEM_FOLDERS and entry.is_dir()
    )


def is_photo_file(path: str | Path) -> bool:
    """Return True for a file with the suffix of a photo, unless it is hidden.

    macOS adds a hidden file "._rose.jpg" without a photo to each "rose.jpg" on other file systems.
    """
    path = Path(path)
    return (
        path.suffix.lower() in IMAGE_SUFFIXES
        and path.name[0] != "."
        and set(_SYSTEM_FOLDERS).isdisjoint(path.parts)
    )
