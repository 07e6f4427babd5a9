"""Photos in class folders, as training and evaluation read them.

FOLDER/<class id>/<photo> -> images.decode_image -> transform -> (float32 3×H×W, class index)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from torchvision.datasets import DatasetFolder

from model.errors import PetalscopeError
from model.imaging.decode import FORMAT_NAMES, IMAGE_SUFFIXES, ImageError, decode_image

_MOST_WORKERS: Final = 8


class PhotoFolderError(PetalscopeError):
    """The folder does not hold photos in class folders as it should."""


class UnreadablePhotoError(PhotoFolderError):
    """One photo of the folder cannot be decoded; the message names it."""

    def __init__(self, message: str) -> None:
        # A data loader's worker hands an exception over as text, with its traceback before it.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


class PhotoFolder(DatasetFolder):  # type: ignore[misc]  # torchvision is not typed
    """A torchvision data set of one folder that has a sub-folder of photos for each class.

    Attributes:
        classes: Class ids in index order: those of the sub-folders, sorted as text, or as given.
        samples: Pairs of path and class index.
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
        """List the photos; none is opened yet.

        Args:
            folder: The folder of class folders.
            transform: From an upright RGB image to an array or tensor.
            class_ids: The classes in index order, of which the folder may hold some; None takes
                the sub-folders' names, sorted as text.
            target_side: As `images.decode_image` takes it.

        Raises:
            PhotoFolderError: No such folder, no class folders, a class folder that is not in
                `class_ids`, or one without photos.
        """
        self._class_ids = class_ids
        self._target_side = target_side
        if not folder.is_dir():
            raise PhotoFolderError(f"There is no folder {folder}.")
        super().__init__(
            str(folder),
            self._decode,
            extensions=IMAGE_SUFFIXES,
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
                f"{folder} has no photos for class {', '.join(empty)}; "
                f"put {FORMAT_NAMES} files there, or remove the folder."
            )

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Return the class ids in index order, and the index of each."""
        found = class_folders(Path(directory))
        if not found:
            raise PhotoFolderError(
                f"{directory} has no class folders; it should hold one folder of photos a class."
            )
        classes = list(self._class_ids) if self._class_ids is not None else found
        unknown = [class_id for class_id in found if class_id not in classes]
        if unknown:
            raise PhotoFolderError(
                f"{directory} has a folder for class {', '.join(unknown)}, "
                "which is not among the classes to tell apart."
            )
        return classes, {class_id: index for index, class_id in enumerate(classes)}

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Decode and transform one photo.

        Raises:
            UnreadablePhotoError: It cannot be decoded.
        """
        image, target = super().__getitem__(index)
        return torch.as_tensor(image), target

    def _decode(self, path: str) -> Image.Image:
        return decode_photo(Path(path), self._target_side)


def decode_photo(path: Path, target_side: int | None = None) -> Image.Image:
    """Decode a photo of a data set as `images.decode_image` does.

    Raises:
        UnreadablePhotoError: It cannot be decoded; the message names it.
    """
    try:
        return decode_image(path, target_side=target_side)
    except (ImageError, OSError) as error:
        reason = error if isinstance(error, ImageError) else "It cannot be read."
        raise UnreadablePhotoError(f"{path}: {reason}") from error


def default_workers() -> int:
    """Return how many processes decode when nothing else is asked for: one a core, at most 8."""
    return min(os.cpu_count() or 1, _MOST_WORKERS)


def class_folders(folder: Path) -> list[str]:
    """Return the names of a folder's sub-folders, sorted as text: its class ids in index order.

    Raises:
        PhotoFolderError: There is no such folder.
    """
    if not folder.is_dir():
        raise PhotoFolderError(f"There is no folder {folder}.")
    return sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )
