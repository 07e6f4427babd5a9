"""Checked ONNX export: a file is written only if it agrees with its checkpoint on photos."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from model.atomic_write import atomic_write
from model.backends.base import Pixels
from model.backends.onnx_export import export, write_metadata
from model.backends.openvino_backend import load_onnx
from model.backends.quantization import quantize
from model.checkpoint.format import load_checkpoint
from model.classifier import Classifier
from model.errors import PetalscopeError
from model.evaluation.datasets import labelled_photos
from model.evaluation.evaluate import compute_logits
from model.training.calibration import LabelledLogits, recalibrated

DEFAULT_MAX_LOST: Final = 0.002
"""Default of the largest drop of top-1 accuracy by quantization, as a fraction of the photos."""

_MAX_DIFFERENCE: Final = 1e-3  # of a probability
_CALIBRATION_PHOTOS: Final = 300


class ExportError(PetalscopeError):
    """An exported model that disagrees with its checkpoint."""


def export_float32(checkpoint: Path, output: Path, valid: Path, photos: int) -> str:
    """Write a float32 ONNX file whose probabilities agree with the checkpoint's.

    Args:
        checkpoint: The .safetensors file.
        output: The file to write; it replaces an older one only after the check.
        valid: Folder of class folders to compare on; noise is used if it does not exist.
        photos: Number of photos to compare on, 1 or more.

    Returns:
        A clause that states the largest difference.

    Raises:
        ExportError: A probability differs by more than 0.001.
        CheckpointError: The checkpoint cannot be used.
        PhotoFolderError: `valid` is not a folder of class folders.
        OSError: The file cannot be written.
    """
    reference = Classifier.load(checkpoint, "cpu")
    inputs, described = _inputs(reference, valid, photos)
    with atomic_write(output) as temporary:
        export(*load_checkpoint(checkpoint), temporary)
        exported = Classifier(*load_onnx(temporary, "cpu"))
        difference = float(
            np.max(
                [
                    np.abs(reference.probabilities(item) - exported.probabilities(item))
                    for item in inputs
                ]
            )
        )
        if not difference <= _MAX_DIFFERENCE:  # NaN fails too
            raise ExportError(
                f"{output} was not written: its probabilities differ by {difference:.2g} from "
                f"those of {checkpoint}, and rounding explains at most {_MAX_DIFFERENCE}."
            )
    return f"probabilities agree to {difference:.1e} on {described}"


def export_int8(
    checkpoint: Path,
    output: Path,
    data: Path,
    calibration_data: Sequence[Path],
    max_lost: float = DEFAULT_MAX_LOST,
) -> str:
    """Write a quantized ONNX file that classifies as many photos correctly as the checkpoint.

    Its temperature and OOD threshold are fitted again.

    Args:
        checkpoint: The .safetensors file.
        output: The file to write; it replaces an older one only after the check.
        data: Folder whose train/ gives the ranges of the activations.
        calibration_data: Folders of class folders, relative to `data`, that check the file and fit
            its temperature and threshold; at least one.
        max_lost: Largest drop of top-1 accuracy, as a fraction of the photos.

    Returns:
        A clause that states the numbers of correct photos and the fraction that one photo is.

    Raises:
        ExportError: More than `max_lost` of the photos are lost.
        CheckpointError: The checkpoint cannot be used.
        PhotoFolderError: train/ or another folder is not a folder of class folders.
        QuantizationError: A package is not installed.
        OSError: The file cannot be written.
    """
    reference = Classifier.load(checkpoint, "cpu")
    train = labelled_photos(reference, data / "train")
    photos = {path.name: labelled_photos(reference, data / path) for path in calibration_data}
    count = min(_CALIBRATION_PHOTOS, len(train))
    chosen = random.Random(0).sample(range(len(train)), count)  # noqa: S311
    with atomic_write(output) as temporary, TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.onnx"
        export(*load_checkpoint(checkpoint), plain)
        quantize(plain, [train[index][0].numpy()[None] for index in chosen], temporary)
        quantized = Classifier(*load_onnx(temporary, "cpu"))
        before, after = (
            [LabelledLogits(name, *compute_logits(each, found)) for name, found in photos.items()]
            for each in (reference, quantized)
        )
        total = sum(len(item.targets) for item in before)
        right, left = (sum(int(item.is_correct.sum()) for item in each) for each in (before, after))
        names = ", ".join(photos)
        if right - left > max_lost * total:
            raise ExportError(
                f"{output} was not written: it classifies {left} of {total} photos of {names} "
                f"correctly instead of {right}, and at most {max_lost:.2%} may be lost, where one "
                f"photo is {1 / total:.2%}; measure on more photos (--calibration-data) or allow "
                "more (--max-lost)."
            )
        metadata = recalibrated(reference.metadata, before, after)
        write_metadata(temporary, replace(metadata, reference=quantized.metadata.reference))
    return (
        f"classifies {left} of {total} photos of {names} correctly, {right} before quantization; "
        f"one photo is {1 / total:.2%}"
    )


def _inputs(classifier: Classifier, folder: Path, count: int) -> tuple[Sequence[Pixels], str]:
    """Return inputs, each uint8 (1, H, W, 3), and their description."""
    if not folder.is_dir():
        side = classifier.metadata.transform.crop
        noise = np.random.default_rng(0).integers(256, size=(count, 1, side, side, 3))
        described = f"{count} inputs of noise, because {folder} does not exist"
        return list(noise.astype(np.uint8)), described
    photos = labelled_photos(classifier, folder)
    chosen = range(0, len(photos), max(1, len(photos) // count))[:count]
    return [photos[index][0].numpy()[None] for index in chosen], f"{len(chosen)} photos of {folder}"
