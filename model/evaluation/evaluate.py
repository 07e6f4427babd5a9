"""Run a classifier over a folder of photos whose classes are known.

    PhotoFolder -> DataLoader (decodes in worker processes) -> float32 N×3×H×W
                -> Classifier.logits -> logits N×C, targets N -> measures.measure -> Measures

Decoding, transform, network and temperature are those of the service, so the numbers hold for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from tqdm import tqdm

from model.classifier import Classifier
from model.data.photo_folder import PhotoFolder, decode_photo, default_workers
from model.errors import PetalscopeError
from model.evaluation.corruptions import CORRUPTIONS, Corruption
from model.evaluation.metrics import ClassificationMetrics, measure
from model.evaluation.multi_photo import MultiPhotoMetrics, measure_multi_photo
from model.evaluation.ood_metrics import OodMetrics, called_unknown, measure_ood

DEFAULT_BATCH_SIZE: Final = 32


class EvaluationError(PetalscopeError):
    """The network's answers cannot be measured."""


@dataclass(frozen=True)
class Evaluation:
    """All that was measured.

    Attributes:
        sets: A map from the name of a set of photos of the classes to its measures.
        called_unknown: A map from the same names to the share that the checkpoint calls unknown;
            None without a rule.
        wrong_called_unknown: The same of wrong answers alone; None where none is wrong, too.
        pairs: A map from the same names to what two photos of a class give over one; None where no
            class has two.
        unknown: A map from the name of a set of photos of none of the classes to its measures,
            against the first of `sets`.
        robustness: A map from a change to the top-1 on the first of `sets` under it.
    """

    sets: Mapping[str, ClassificationMetrics]
    called_unknown: Mapping[str, float | None] = field(default_factory=dict)
    wrong_called_unknown: Mapping[str, float | None] = field(default_factory=dict)
    pairs: Mapping[str, MultiPhotoMetrics | None] = field(default_factory=dict)
    unknown: Mapping[str, OodMetrics] = field(default_factory=dict)
    robustness: Mapping[str, float] = field(default_factory=dict)


def labelled_photos(
    classifier: Classifier, folder: Path, change: Corruption | None = None
) -> PhotoFolder:
    """List the photos of a folder that has a sub-folder for each of the classifier's classes.

    The folder may lack some of the classes. An index is the classifier's, not the folder's.

    Args:
        classifier: By whose transform and classes.
        folder: The folder of class folders.
        change: What to do to each upright RGB image before the transform.

    Raises:
        PhotoFolderError: No such folder, no photos, or a sub-folder that is none of the classes.
    """
    metadata = classifier.metadata
    return PhotoFolder(
        folder,
        _changed(classifier, change),
        class_ids=[item.class_id for item in metadata.classes],
        target_side=metadata.transform.resize,
    )


class UnknownPhotos(Dataset[tuple[torch.Tensor, int]]):
    """Photos of none of the classifier's classes, with -1 in the place of an index."""

    def __init__(self, classifier: Classifier, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._transform = classifier.metadata.transform

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Decode and transform one photo.

        Raises:
            UnreadablePhotoError: It cannot be decoded.
        """
        image = decode_photo(self._paths[index], self._transform.resize)
        return torch.from_numpy(self._transform(image)), -1


def _changed(classifier: Classifier, change: Corruption | None) -> Callable[[Image.Image], Any]:
    # Not `classifier.preprocess`, which does the same: with it every worker process would be
    # handed the network, where processes are spawned.
    transform = classifier.metadata.transform
    return transform if change is None else v2.Compose([change, transform])


def evaluate_all(
    classifier: Classifier,
    folders: Mapping[str, Path],
    unknown: Mapping[str, Sequence[Path]],
    *,
    robustness: bool = False,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
) -> Evaluation:
    """Measure on sets of photos of the classes, on sets of none of them, and under changes.

    Args:
        classifier: What to evaluate.
        folders: A map from the name of a set to its folder of class folders; at least one.
        unknown: A map from the name of a set of photos of none of the classes to their paths.
        robustness: Whether to measure the first of `folders` under each of `CHANGES`.
        batch_size: Photos that go through the network at once.
        workers: Processes that decode; 0 decodes in this one, None is one a core.

    Raises:
        PhotoFolderError: A folder is not as it should be.
        UnreadablePhotoError: A photo cannot be decoded; the message names it.
        EvaluationError: The network gives no numbers.
    """
    metadata = classifier.metadata
    temperature, rule = metadata.temperature, metadata.ood_rule
    class_ids = [item.class_id for item in metadata.classes]
    options: Any = {"batch_size": batch_size, "workers": workers}
    photos = {name: labelled_photos(classifier, folder) for name, folder in folders.items()}
    outputs = {
        name: compute_logits(classifier, listed, **options) for name, listed in photos.items()
    }
    first, *_ = folders
    known = outputs[first][0].numpy()
    return Evaluation(
        sets={
            name: measure(logits, targets, class_ids, temperature)
            for name, (logits, targets) in outputs.items()
        },
        called_unknown={
            name: called_unknown(logits.numpy(), temperature, rule)
            for name, (logits, _) in outputs.items()
        },
        wrong_called_unknown={
            name: called_unknown(logits[logits.argmax(dim=1) != targets].numpy(), temperature, rule)
            for name, (logits, targets) in outputs.items()
        },
        pairs={name: measure_multi_photo(*found) for name, found in outputs.items()},
        unknown={
            name: measure_ood(
                known,
                compute_logits(classifier, UnknownPhotos(classifier, paths), **options)[0].numpy(),
                temperature,
                rule,
            )
            for name, paths in unknown.items()
        },
        robustness={
            name: evaluate(
                classifier, labelled_photos(classifier, folders[first], change), **options
            ).top1
            for name, change in (CORRUPTIONS.items() if robustness else ())
        },
    )


def evaluate(
    classifier: Classifier,
    photos: PhotoFolder,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
) -> ClassificationMetrics:
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
    photos: PhotoFolder | UnknownPhotos,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the network on all photos, in their order.

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
    for batch, batch_targets in tqdm(loader, unit="batch", disable=None):
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
