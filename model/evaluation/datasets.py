"""Evaluation data sets: labelled photos of the classes, and OOD photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2

from model.classifier import Classifier
from model.data.ood_photos import Half, ood_photos
from model.data.photo_folder import PhotoFolder, PhotoFolderError, class_folders, decode_photo
from model.evaluation.corruptions import Corruption


def labelled_photos(
    classifier: Classifier, folder: Path, corruption: Corruption | None = None
) -> PhotoFolder:
    """Return the photos of a folder of class folders, labelled with the classifier's indices.

    Args:
        classifier: Classifier whose transform and classes apply.
        folder: Folder of class folders; it may lack some of the classes.
        corruption: Function applied to each upright RGB image before the transform.

    Raises:
        PhotoFolderError: The folder is missing, has no photos or has a folder of another class.
    """
    metadata = classifier.metadata
    # Not `classifier.preprocess`: a spawned worker process would receive the network with it.
    transform = metadata.transform
    return PhotoFolder(
        folder,
        transform if corruption is None else v2.Compose([corruption, transform]),
        class_ids=[item.class_id for item in metadata.classes],
        target_side=transform.resize,
    )


class OodPhotos(Dataset[tuple[torch.Tensor, int]]):
    """Photos of none of the classifier's classes, labelled -1."""

    def __init__(self, classifier: Classifier, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._transform = classifier.metadata.transform

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one photo, uint8 (H, W, 3), and -1.

        Raises:
            UnreadablePhotoError: The photo cannot be decoded.
        """
        image = decode_photo(self._paths[index], self._transform.resize)
        return torch.from_numpy(self._transform(image)), -1


def ood_photos_except(folder: Path, half: Half, excluded: Sequence[str]) -> list[Path]:
    """Return the OOD photos of a folder without those in some of its sub-folders.

    Args:
        folder: Folder of photos, or of sub-folders of photos.
        half: Half to list.
        excluded: Names of sub-folders.

    Raises:
        PhotoFolderError: The folder or an excluded sub-folder is missing, or no photos are left.
    """
    # A misspelt name would silently keep the photos in.
    if missing := set(excluded).difference(class_folders(folder)):
        raise PhotoFolderError(f"{folder} has no sub-folder {min(missing)!r} to exclude.")
    photos = [
        photo
        for photo in ood_photos(folder, half)
        if photo.relative_to(folder).parts[0] not in excluded
    ]
    if not photos:
        raise PhotoFolderError(f"{folder} has no photos besides those in {', '.join(excluded)}.")
    return photos
