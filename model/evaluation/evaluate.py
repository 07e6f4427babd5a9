"""Evaluation of a classifier on folders of photos.

Decoding, transform, network and temperature are the service's own, so the metrics hold for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.classifier import Classifier
from model.data.photo_folder import PhotoFolder, default_workers
from model.errors import PetalscopeError
from model.evaluation.corruptions import CORRUPTIONS
from model.evaluation.datasets import OodPhotos, labelled_photos
from model.evaluation.metrics import ClassificationMetrics, compute_metrics
from model.evaluation.multi_photo import (
    MultiPhotoMetrics,
    compute_multi_photo_detection,
    compute_multi_photo_metrics,
    folder_indices,
)
from model.evaluation.ood_metrics import OodMetrics, compute_ood_metrics
from model.evaluation.verdict_metrics import VerdictMetrics, compute_verdict_metrics

DEFAULT_BATCH_SIZE: Final = 32


class EvaluationError(PetalscopeError):
    """A network whose output has no metrics."""


@dataclass(frozen=True)
class SetMetrics:
    """Metrics on one set of photos of the classes.

    Attributes:
        classification: Accuracy, calibration and confusion.
        verdicts: Verdicts and whether they are right; None without an OOD rule.
        multi_photo: Metrics of groups of photos of a class.
    """

    classification: ClassificationMetrics
    verdicts: VerdictMetrics | None = None
    multi_photo: tuple[MultiPhotoMetrics, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """All metrics of an evaluation.

    Attributes:
        sets: Map from the name of a set of photos of the classes to its metrics.
        ood: Map from the name of a set of OOD photos to its metrics.
        corruptions: Map from the name of a set to the top-1 accuracy under each corruption.
    """

    sets: Mapping[str, SetMetrics]
    ood: Mapping[str, OodMetrics] = field(default_factory=dict)
    corruptions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def evaluate_all(
    classifier: Classifier,
    folders: Mapping[str, Path],
    ood_sets: Mapping[str, Sequence[Path]],
    *,
    corrupted: str | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
) -> Evaluation:
    """Evaluate on sets of photos of the classes, on OOD photos and under corruptions.

    Args:
        classifier: Classifier to evaluate.
        folders: Map from the name of a set to its folder of class folders; at least one.
        ood_sets: Map from the name of a set of OOD photos to their paths.
        corrupted: Name of the set to evaluate under each of `CORRUPTIONS` too.
        batch_size: Photos in a forward pass.
        workers: Processes that decode; 0 decodes in this one, None starts one per core.

    Raises:
        PhotoFolderError: A folder is missing or not a folder of the classes.
        UnreadablePhotoError: A photo cannot be decoded.
        EvaluationError: The network's logits are not finite.
    """
    options: Any = {"batch_size": batch_size, "workers": workers}
    photos = {name: labelled_photos(classifier, folder) for name, folder in folders.items()}
    outputs = {name: compute_logits(classifier, found, **options) for name, found in photos.items()}
    return Evaluation(
        sets={name: _set_metrics(classifier, *output) for name, output in outputs.items()},
        ood={
            name: _ood_metrics(
                classifier,
                outputs,
                compute_logits(classifier, OodPhotos(classifier, paths), **options)[0],
                paths,
            )
            for name, paths in ood_sets.items()
        },
        corruptions={
            corrupted: {
                name: evaluate(
                    classifier,
                    labelled_photos(classifier, folders[corrupted], corruption),
                    **options,
                ).top1
                for name, corruption in CORRUPTIONS.items()
            }
        }
        if corrupted
        else {},
    )


def evaluate(
    classifier: Classifier,
    photos: PhotoFolder,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
) -> ClassificationMetrics:
    """Classify all photos and return the metrics; show progress on a terminal.

    Args:
        classifier: Classifier to evaluate.
        photos: Photos from `labelled_photos`.
        batch_size: Photos in a forward pass.
        workers: Processes that decode; 0 decodes in this one, None starts one per core.

    Raises:
        UnreadablePhotoError: A photo cannot be decoded.
        EvaluationError: The network's logits are not finite.
    """
    logits, targets = compute_logits(classifier, photos, batch_size=batch_size, workers=workers)
    return _classification_metrics(classifier, logits, targets)


def compute_logits(
    classifier: Classifier,
    photos: PhotoFolder | OodPhotos,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the network on all photos, in their order.

    Returns:
        float32 logits (N, C) before the temperature, and int64 targets (N,).

    Raises:
        UnreadablePhotoError: A photo cannot be decoded.
        EvaluationError: The logits are not finite.
    """
    loader: DataLoader[tuple[torch.Tensor, int]] = DataLoader(
        photos,
        batch_size=batch_size,
        num_workers=default_workers() if workers is None else workers,
    )
    logits, targets = [], []
    # `disable=None` shows the bar on a terminal only.
    for batch, batch_targets in tqdm(loader, unit="batch", disable=None):
        logits.append(torch.from_numpy(classifier.logits(batch.numpy())))
        targets.append(batch_targets)
    outputs = torch.cat(logits)
    count = int((~outputs.isfinite()).any(dim=1).sum())
    if count:
        raise EvaluationError(
            f"The network's logits are not finite for {count} of {len(outputs)} photos; "
            "its training diverged or its weights are damaged."
        )
    return outputs, torch.cat(targets)


def _classification_metrics(
    classifier: Classifier, logits: torch.Tensor, targets: torch.Tensor
) -> ClassificationMetrics:
    metadata = classifier.metadata
    class_ids = [item.class_id for item in metadata.classes]
    return compute_metrics(logits, targets, class_ids, metadata.temperature)


def _set_metrics(classifier: Classifier, logits: torch.Tensor, targets: torch.Tensor) -> SetMetrics:
    temperature, rule = classifier.metadata.temperature, classifier.metadata.ood_rule
    classes = targets.numpy()
    return SetMetrics(
        classification=_classification_metrics(classifier, logits, targets),
        verdicts=compute_verdict_metrics(logits.numpy(), classes, temperature, rule),
        multi_photo=compute_multi_photo_metrics(
            logits.numpy(), classes, classes, temperature, rule
        ),
    )


def _ood_metrics(
    classifier: Classifier,
    in_distribution: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    ood: torch.Tensor,
    paths: Sequence[Path],
) -> OodMetrics:
    """Compare OOD photos with sets of in-distribution ones; see `compute_ood_metrics`.

    Args:
        classifier: Classifier that made the logits.
        in_distribution: Logits and targets of each set by name.
        ood: Logits of the OOD photos.
        paths: Their files.
    """
    temperature, rule = classifier.metadata.temperature, classifier.metadata.ood_rule
    sets = {
        name: (item.numpy(), classes.numpy()) for name, (item, classes) in in_distribution.items()
    }
    logits, species = ood.numpy(), folder_indices([str(path.parent) for path in paths])
    return replace(
        compute_ood_metrics(
            {name: item for name, (item, _) in sets.items()}, logits, temperature, rule
        ),
        multi_photo=compute_multi_photo_metrics(logits, species, None, temperature, rule),
        multi_photo_against={
            name: compute_multi_photo_detection(found, (logits, species), temperature, rule)
            for name, found in sets.items()
        },
    )
