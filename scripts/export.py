"""Write a checkpoint as an ONNX file, and see that it answers as the checkpoint does.

    CHECKPOINT -> model.backends.onnx_export -> OpenVINO, against PyTorch, on photos -> FILE.onnx
        with --int8: -> model.backends.quantization, by photos of train
                     -> OpenVINO, against PyTorch, on all of valid: top-1 -> FILE-int8.onnx

python scripts/export.py checkpoints/tf_efficientnet_lite2.safetensors
python scripts/export.py checkpoints/tf_efficientnet_lite2.safetensors --int8
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from model.atomic_write import atomic_write
from model.backends.base import Array
from model.backends.onnx_export import export, write_metadata
from model.backends.openvino_backend import load_onnx
from model.backends.quantization import int8_path, quantize
from model.checkpoint.format import load_checkpoint
from model.classifier import Classifier
from model.errors import PetalscopeError
from model.evaluation.datasets import labelled_photos
from model.evaluation.evaluate import compute_logits
from model.training.calibration import LabelledLogits, recalibrated
from scripts.command_line import (
    OutputError,
    add_data_option,
    command,
    make_parent_folder,
    whole_number,
)

_TOLERANCE: Final = 1e-3  # of a probability
_PHOTOS: Final = 200
_RANGES: Final = 300  # photos that show the ranges of the activations
_MOST_LOST: Final = 0.002  # of the photos that float32 names rightly, as a share of all


class ExportError(PetalscopeError):
    """The model would not answer as its checkpoint does."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for an error told in one line, 2 for usage."""
    options = _parser().parse_args(argv)
    checkpoint: Path = options.checkpoint
    beside = int8_path(checkpoint) if options.int8 else checkpoint.with_suffix(".onnx")
    output = options.output or beside
    make_parent_folder(output)
    write = _write_int8 if options.int8 else _write_float32
    try:
        # The file gets its name when it has been compared: a bad one replaces no good one.
        with atomic_write(output) as temporary:
            told = write(options, output, temporary)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror}.") from error
    print(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB); {told}")
    return 0


def _write_float32(options: argparse.Namespace, output: Path, temporary: Path) -> str:
    reference = Classifier.load(options.checkpoint, "cpu")
    inputs, what = _inputs(reference, options.data / "valid", options.photos)
    export(*load_checkpoint(options.checkpoint), temporary)
    difference = _difference(reference, Classifier(*load_onnx(temporary, "cpu")), inputs)
    if not difference <= _TOLERANCE:
        raise ExportError(
            f"{output} was not written: its probabilities would differ by "
            f"{difference:.2g} from those of {options.checkpoint}, where up to "
            f"{_TOLERANCE} is rounding."
        )
    return f"probabilities agree to {difference:.1e} on {what}"


def _write_int8(options: argparse.Namespace, output: Path, temporary: Path) -> str:
    reference = Classifier.load(options.checkpoint, "cpu")
    train, valid = (labelled_photos(reference, options.data / part) for part in ("train", "valid"))
    chosen = random.Random(0).sample(range(len(train)), min(_RANGES, len(train)))  # noqa: S311
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.onnx"
        export(*load_checkpoint(options.checkpoint), plain)
        quantize(plain, [train[index][0].numpy()[None] for index in chosen], temporary)
    quantized = Classifier(*load_onnx(temporary, "cpu"))
    before, targets = compute_logits(reference, valid)
    logits, _ = compute_logits(quantized, valid)
    right, left = (int((each.argmax(dim=1) == targets).sum()) for each in (before, logits))
    what = f"{left} photos of {len(valid)} of {options.data / 'valid'}, {right} before"
    if right - left > _MOST_LOST * len(valid):
        raise ExportError(
            f"{output} was not written: it would name {what}, where up to {_MOST_LOST:.1%} may be "
            "lost."
        )
    write_metadata(
        temporary,
        recalibrated(
            reference.metadata,
            [LabelledLogits("valid", before, targets)],
            [LabelledLogits("valid", logits, targets)],
        ),
    )
    return f"names {what}"


def _difference(reference: Classifier, exported: Classifier, inputs: Sequence[Array]) -> float:
    """Return the largest difference of a probability; NaN where one is not a number."""
    differences = [
        np.abs(reference.probabilities(item) - exported.probabilities(item)) for item in inputs
    ]
    return float(np.max(differences))


def _inputs(classifier: Classifier, folder: Path, count: int) -> tuple[list[Array], str]:
    if not folder.is_dir():
        side = classifier.metadata.transform.crop
        noise = np.random.default_rng(0).normal(size=(count, 1, 3, side, side))
        return list(noise.astype(np.float32)), f"{count} inputs of noise, for want of {folder}"
    photos = labelled_photos(classifier, folder)
    chosen = range(0, len(photos), max(1, len(photos) // count))[:count]
    return [photos[index][0].numpy()[None] for index in chosen], f"{len(chosen)} photos of {folder}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py",
        description="Write a checkpoint as an ONNX file, for services and phones without PyTorch.",
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a .safetensors file of train.py")
    add("--output", type=Path, metavar="FILE.onnx", help="where to (default: beside CHECKPOINT)")
    add_data_option(
        parser,
        "folder whose valid/ holds photos to compare the two on, for which noise will do without "
        "--int8, and train/ those that show --int8 its ranges",
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--photos",
        type=whole_number(1),
        default=_PHOTOS,
        metavar="N",
        help="how many to compare on (default: %(default)s)",
    )
    kinds.add_argument(
        "--int8",
        action="store_true",
        help="write 8 bits, compare on all photos of valid/, and refuse if more than "
        f"{_MOST_LOST:.1%}".replace("%", "%%")
        + " of them were lost",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
