"""Run a classifier over a folder of photos whose classes are known.

    PhotoFolder -> DataLoader (decodes in worker processes) -> float32 N×3×H×W
                -> Classifier.logits -> logits N×C, targets N -> measures.measure -> Measures

Decoding, transform, network and temperature are those of the service, so the numbers hold for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.classifier import Classifier
from model.errors import PetalscopeError
from model.measures import Measures, measure
from model.photo_folder import PhotoFolder, default_workers

DEFAULT_BATCH_SIZE: Final = 32


class EvaluationError(PetalscopeError):
    """The network's answers cannot be measured."""


def labelled_photos(classifier: Classifier, folder: Path) -> PhotoFolder:
    """List the photos of a folder that has a sub-folder for each of the classifier's classes.

    The folder may lack some of the classes. An index is the classifier's, not the folder's.

    Raises:
        PhotoFolderError: No such folder, no photos, or a sub-folder that is none of the classes.
    """
    metadata = classifier.metadata
    return PhotoFolder(
        folder,
        # Not `classifier.preprocess`, which does the same: with it every worker process would be
        # handed the network, where processes are spawned.
        metadata.transform,
        class_ids=[item.class_id for item in metadata.classes],
        target_side=metadata.transform.resize,
    )


def evaluate(
    classifier: Classifier,
    photos: PhotoFolder,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
) -> Measures:
    """Classify all photos and compare with their classes; show progress on a terminal.

    Args:
        classifier: What to evaluate.
        photos: As `labelled_photos` lists them.
        batch_size: Photos that go through the network at once.
        workers: Processes that decode; 0 decodes in this one, None is one a core.

    Raises:
        UnreadablePhotoError: A photo cannot be decoded; the message names it.
        EvaluationError: The network gives no numbers.
    """
    logits, targets = compute_logits(classifier, photos, batch_size=batch_size, workers=workers)
    metadata = classifier.metadata
    class_ids = [item.class_id for item in metadata.classes]
    return measure(logits, targets, class_ids, metadata.temperature)


def compute_logits(
    classifier: Classifier,
    photos: PhotoFolder,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the network on all photos, in the order of `photos.samples`.

    Returns:
        float32 logits (N, C), not divided by the temperature, and int64 targets (N,).

    Raises:
        UnreadablePhotoError: A photo cannot be decoded; the message names it.
        EvaluationError: The network gives no numbers.
    """
    loader: DataLoader[tuple[torch.Tensor, int]] = DataLoader(
        photos,
        batch_size=batch_size,
        num_workers=default_workers() if workers is None else workers,
    )
    logits, targets = [], []
    # `disable=None` is tqdm's word for: only on a terminal.
    for batch, batch_targets in tqdm(loader, desc=Path(photos.root).name, disable=None):
        logits.append(torch.from_numpy(classifier.logits(batch.numpy())))
        targets.append(batch_targets)
    outputs = torch.cat(logits)
    broken = int((~outputs.isfinite()).any(dim=1).sum())
    if broken:
        raise EvaluationError(
            f"The network gives no finite numbers for {broken} of {len(outputs)} photos; "
            "its training diverged, or its weights are damaged."
        )
    return outputs, torch.cat(targets)
