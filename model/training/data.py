"""Training and validation photos: listing, sampling weights, order and loaders.

The augmentation of a photo depends only on (seed, epoch, index), not on the number of workers, so
that a resumed run sees exactly the photos of an uninterrupted one.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from model.checkpoint.labels import FlowerClass
from model.data.ood_photos import Half, ood_photos
from model.data.photo_folder import PhotoFolder, PhotoFolderError, decode_photo, default_workers
from model.data.split import PARTS, photo_key
from model.errors import join_names
from model.imaging.transforms import EvaluationTransform
from model.training.augmentation import (
    OOD_TARGET,
    epoch_size,
    training_transform,
    validation_transform,
)
from model.training.config import TrainingConfig
from model.training.data_folders import labelled_folder


class Sample(NamedTuple):
    """A training photo.

    Attributes:
        path: The image file.
        target: Class index, or `OOD_TARGET`.
        source: Index of its folder in `TrainingConfig.train_data`; 0 for OOD photos.
    """

    path: Path
    target: int
    source: int = 0


class SeededPhotos(Dataset[tuple[torch.Tensor, int]]):
    """Training photos whose augmentation is seeded by (seed, epoch, index).

    Args:
        samples: The photos.
        transform_of: Maps an epoch, counted from 0, to its transform of an upright RGB image. Both
            must pickle, for worker processes that are not forked.
        seed: Random seed.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        transform_of: Callable[[int], Callable[[Image.Image], Any]],
        seed: int,
    ) -> None:
        self.samples = samples
        self._transform_of = transform_of
        self._seed = seed
        self.start(0)

    def start(self, epoch: int) -> None:
        """Set the epoch, counted from 0, before the loader starts its workers."""
        self._epoch = epoch
        self._transform = self._transform_of(epoch)

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one augmented photo, float32 (3, H, W), and its class index.

        The photo is decoded at full size, because a crop may cover only a small part of it.

        Raises:
            UnreadablePhotoError: The photo cannot be decoded.
        """
        path, target, _ = self.samples[index]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(combined_seed(self._seed, self._epoch, index))
            return torch.as_tensor(self._transform(decode_photo(path))), target


class ResumableOrder(Sampler[int]):
    """A random order of photos per epoch that can start at any position.

    Args:
        weights: Relative frequency of each photo. Its count in an epoch is the expected count,
            randomly rounded up or down; equal weights give each photo once.
        seed: Random seed of the order.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        shares = torch.tensor(weights, dtype=torch.float64)
        self._expected = shares / shares.sum() * len(shares)
        self._seed = seed
        self._epoch = 0
        self._skipped = 0

    def start(self, epoch: int, skipped: int = 0) -> None:
        """Set the epoch, counted from 0, and the number of its photos to skip."""
        self._epoch, self._skipped = epoch, skipped

    def __len__(self) -> int:
        """Return the number of photos in a full epoch."""
        return len(self._expected)

    def __iter__(self) -> Iterator[int]:
        """Yield the photo indices of the current epoch, in order."""
        generator = torch.Generator().manual_seed(combined_seed(self._seed, self._epoch))
        count = len(self)
        # Systematic sampling: each photo is a segment as long as its expected count, and points at
        # distance 1 pick the segments they fall into. The clamp keeps rounding from shifting one.
        row = torch.randperm(count, generator=generator)
        ends = self._expected[row].cumsum(0)
        first = torch.rand((), generator=generator, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
        picked = row[torch.searchsorted(ends, torch.arange(count) + first).clamp(max=count - 1)]
        order = picked[torch.randperm(count, generator=generator)]
        return iter(order.tolist()[self._skipped :])


def combined_seed(*parts: int) -> int:
    """Hash non-negative integers into one seed, with unrelated streams for adjacent values."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def training_photos(
    options: TrainingConfig,
    classes: Sequence[FlowerClass],
    transform: EvaluationTransform,
    skip: Collection[Path] = (),
) -> SeededPhotos:
    """List the training photos, OOD photos last.

    Args:
        options: Options of the run.
        classes: Classes in index order.
        transform: Evaluation transform, for the normalization and the default size.
        skip: Unreadable photos to leave out.

    Raises:
        PhotoFolderError: A folder or class has no photos, or an excluded photo does not exist.
    """
    class_ids = [item.class_id for item in classes]
    samples = [
        Sample(Path(path), target, source)
        for source, folder in enumerate(options.train_data)
        for path, target in PhotoFolder(
            labelled_folder(options, folder), transform, class_ids=class_ids
        ).samples
    ]
    excluded = set(options.exclude)
    found = {photo_key(sample.path) for sample in samples}
    if excluded and options.valid_fraction is not None:  # the split left them out
        whole = PhotoFolder(options.data, transform)
        found |= {photo_key(Path(path)) for path, _ in whole.samples}
    if missing := sorted(excluded - found):
        raise PhotoFolderError(
            f"--exclude names {missing[0]}, which is in none of the training folders; --exclude "
            "without values overrides a recipe's list."
        )
    samples = [
        sample
        for sample in samples
        if photo_key(sample.path) not in excluded and sample.path not in skip
    ]
    _require_photos(classes, [sample.target for sample in samples])
    ood = _ood_paths(options, options.ood_data, "all")
    ood += _ood_paths(options, options.ood_data_half, "train")
    samples += [Sample(path, OOD_TARGET) for path in ood if path not in skip]
    backgrounds = [path for path in background_photos(options) if path not in skip]

    # Not a closure, which cannot be sent to a worker process that is spawned.
    transform_of = partial(_transform_of, options, transform, backgrounds)
    return SeededPhotos(samples, transform_of, options.seed)


def background_photos(options: TrainingConfig) -> list[Path]:
    """List the photos of `paste_backgrounds`.

    Raises:
        PhotoFolderError: A folder is missing or has no photos.
    """
    return _ood_paths(options, options.paste_backgrounds, "train")


def photo_folders(options: TrainingConfig) -> list[Path]:
    """Return every folder that the photos of the run come from."""
    parts: tuple[Path, ...] = (*options.train_data, Path("valid"))
    if options.valid_fraction is not None:
        parts = (Path(), *(part for part in parts if str(part) not in PARTS))
    others = (*options.ood_data, *options.ood_data_half, *options.paste_backgrounds)
    return [options.data / folder for folder in (*parts, *others)]


def sampling_weights(photos: SeededPhotos, options: TrainingConfig) -> list[float]:
    """Return the relative sampling frequency of each photo.

    A group is the photos of one class in one training folder. A group of n photos is sampled in
    proportion to folder weight x n^(1 - class_balance). OOD photos get `ood_fraction` of the epoch.

    Args:
        photos: The training photos, OOD photos included.
        options: Uses `train_data_weights`, `class_balance` and `ood_fraction`.
    """
    factors = options.train_data_weights or (1.0,) * len(options.train_data)
    groups = Counter((sample.source, sample.target) for sample in photos.samples)
    ood_count = groups.pop((0, OOD_TARGET), 0)
    weights = {
        (source, target): factors[source] * count**-options.class_balance
        for (source, target), count in groups.items()
    }
    if ood_count:
        total = sum(count * weights[group] for group, count in groups.items())
        fraction = options.ood_fraction
        weights[0, OOD_TARGET] = total * fraction / (1 - fraction) / ood_count
    return [weights[sample.source, sample.target] for sample in photos.samples]


def valid_photos(
    options: TrainingConfig,
    classes: Sequence[FlowerClass],
    transform: EvaluationTransform,
    skip: Collection[Path] = (),
) -> PhotoFolder:
    """List the validation photos.

    Args:
        options: Options of the run.
        classes: Classes in index order.
        transform: Evaluation transform, as in serving.
        skip: Unreadable photos to leave out.

    Raises:
        PhotoFolderError: The folder or a class has no photos.
    """
    folder = labelled_folder(options, Path("valid"))
    photos = PhotoFolder(folder, validation_transform(transform), target_side=transform.resize)
    photos.samples = [item for item in photos.samples if Path(item[0]) not in skip]
    photos.targets = [target for _, target in photos.samples]
    _require_photos(classes, photos.targets)
    return photos


def photo_loader(
    photos: Dataset[Any], options: TrainingConfig, order: ResumableOrder | None = None
) -> DataLoader[Any]:
    """Return a loader of batches: float32 images (N, 3, H, W) and int64 targets (N,).

    Args:
        photos: Training or validation photos, at least one.
        options: Uses `batch_size` and `workers`.
        order: Order of training photos; None for validation, in the listed order. With an order, an
            incomplete last batch is dropped: its few photos would weigh as much as a full batch.
    """
    count = len(photos)  # type: ignore[arg-type]
    return DataLoader(
        photos,
        batch_size=min(options.batch_size, count),
        sampler=order,
        drop_last=order is not None,
        num_workers=default_workers() if options.workers is None else options.workers,
        worker_init_fn=_ignore_interrupts,
        pin_memory=torch.cuda.is_available(),
    )


def _transform_of(
    options: TrainingConfig,
    transform: EvaluationTransform,
    backgrounds: Sequence[Path],
    epoch: int,
) -> Callable[[Image.Image], Any]:
    size = epoch_size(options, transform, epoch)
    return training_transform(options, transform, size, backgrounds)


def _ood_paths(options: TrainingConfig, folders: Sequence[Path], half: Half) -> list[Path]:
    return [path for folder in folders for path in ood_photos(options.data / folder, half)]


def _require_photos(classes: Sequence[FlowerClass], targets: Sequence[int]) -> None:
    found = set(targets)
    empty = [item.class_id for index, item in enumerate(classes) if index not in found]
    if empty:
        raise PhotoFolderError(
            f"No photos are left for class {join_names(empty)} without the excluded and unreadable "
            "ones; add some or remove its folders."
        )


def _ignore_interrupts(_: int) -> None:
    # Ctrl-C reaches the whole process group; the parent saves the state and stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
