"""The photos of a training: folders checked, augmented by seed, in loaders.

What happens to a photo is a function of (seed, epoch, index) alone: not of the number of workers,
nor of what was drawn before, so that a resumed run sees exactly what an unbroken one would have.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from model.data_folder import NAMES_FILE
from model.labels import FlowerClass, name_classes, read_category_names
from model.photo_folder import PhotoFolder, PhotoFolderError, class_folders, default_workers
from model.training.augmentation import training_transform
from model.training.options import TrainingOptions
from model.transforms import EvaluationTransform


class SeededPhotos(Dataset[tuple[torch.Tensor, int]]):
    """A photo folder whose augmentation is drawn from (seed, epoch, index)."""

    def __init__(self, photos: PhotoFolder, seed: int) -> None:
        self.photos = photos
        self._seed = seed
        self._epoch = 0

    def start(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, that the next loader's workers draw from."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one augmented photo, float32 (3, H, W), and its class index."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(combined_seed(self._seed, self._epoch, index))
            return self.photos[index]


class ResumableOrder(Sampler[int]):
    """A random order of all photos for each epoch, which can be entered anywhere."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._epoch = 0
        self._skipped = 0

    def start(self, epoch: int, skipped: int = 0) -> None:
        """Choose the epoch, counted from 0, and how many of its photos to leave out."""
        self._epoch, self._skipped = epoch, skipped

    def __len__(self) -> int:
        """Return the number of photos of a whole epoch."""
        return self._count

    def __iter__(self) -> Iterator[int]:
        """Give the indices of the photos in the order of the chosen epoch."""
        generator = torch.Generator().manual_seed(combined_seed(self._seed, self._epoch))
        order: list[int] = torch.randperm(self._count, generator=generator).tolist()
        return iter(order[self._skipped :])


def combined_seed(*parts: int) -> int:
    """Mix integers of 0 or more into one seed, so that neighbours give unrelated streams."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def find_classes(options: TrainingOptions) -> tuple[FlowerClass, ...]:
    """Read the classes off the folders of DATA/train, in index order, and name them.

    Raises:
        PhotoFolderError: A folder is missing, or the classes of train and valid differ.
        LabelsError: The file of names cannot be used, or lacks one.
    """
    train, valid = (class_folders(options.data / part) for part in ("train", "valid"))
    if different := sorted(set(train) ^ set(valid)):
        raise PhotoFolderError(
            f"{options.data}/train and {options.data}/valid differ in class "
            f"{', '.join(different)}; each class needs a folder in both."
        )
    names = read_category_names(options.names or options.data / NAMES_FILE)
    return name_classes(train, names)


def training_photos(options: TrainingOptions, transform: EvaluationTransform) -> SeededPhotos:
    """List the photos of DATA/train, to be augmented.

    They are decoded at full size, since a crop may take a small part of one.

    Raises:
        PhotoFolderError: There are no photos, or none of a class.
    """
    photos = PhotoFolder(options.data / "train", training_transform(options, transform))
    return SeededPhotos(photos, options.seed)


def valid_photos(options: TrainingOptions, transform: EvaluationTransform) -> PhotoFolder:
    """List the photos of DATA/valid, to be transformed as serving does.

    Raises:
        PhotoFolderError: There are no photos, or none of a class.
    """
    return PhotoFolder(options.data / "valid", transform, target_side=transform.resize)


def photo_loader(
    photos: Dataset[Any], options: TrainingOptions, order: ResumableOrder | None = None
) -> DataLoader[Any]:
    """Load batches: float32 images (N, 3, H, W) and int64 targets (N,).

    Without an `order` the photos come as listed. With one, an incomplete last batch is left out: a
    step on a few photos would weigh them as much as a whole batch, and spoil batch statistics.
    """
    count = len(photos)  # type: ignore[arg-type]
    return DataLoader(
        photos,
        batch_size=min(options.batch_size, count),
        sampler=order,
        drop_last=order is not None,
        num_workers=default_workers() if options.workers is None else options.workers,
        worker_init_fn=_leave_interrupts_to_the_parent,
        pin_memory=torch.cuda.is_available(),
    )


def _leave_interrupts_to_the_parent(_: int) -> None:
    # Ctrl-C reaches the whole process group; the parent ends the step, saves and stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
