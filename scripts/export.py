"""Write a checkpoint as an ONNX file, and see that it answers as the checkpoint does.

    CHECKPOINT -> model.onnx_file -> OpenVINO, against PyTorch, on photos -> FILE.onnx

python scripts/export.py checkpoints/tf_efficientnet_lite2.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from model.atomic import replacing
from model.checkpoint import load_checkpoint
from model.classifier import Classifier
from model.errors import PetalscopeError
from model.evaluation import labelled_photos
from model.network import Array
from model.onnx_file import export
from model.openvino_network import load_onnx
from scripts.command_line import OutputError, add_data_option, command, make_folder_of, whole_number

_TOLERANCE: Final = 1e-3  # of a probability
_PHOTOS: Final = 200


class ExportError(PetalscopeError):
    """The model would not answer as its checkpoint does."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for an error told in one line, 2 for usage."""
    options = _parser().parse_args(argv)
    output = options.output or options.checkpoint.with_suffix(".onnx")
    make_folder_of(output)
    reference = Classifier.load(options.checkpoint, "cpu")
    inputs, what = _inputs(reference, options.data / "valid", options.photos)
    try:
        # The file gets its name when it has been compared: a bad one replaces no good one.
        with replacing(output) as temporary:
            export(*load_checkpoint(options.checkpoint), temporary)
            difference = _difference(reference, Classifier(*load_onnx(temporary, "cpu")), inputs)
            if not difference <= _TOLERANCE:
                raise ExportError(
                    f"{output} was not written: its probabilities would differ by "
                    f"{difference:.2g} from those of {options.checkpoint}, where up to "
                    f"{_TOLERANCE} is rounding."
                )
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror}.") from error
    size = output.stat().st_size / 1e6
    print(f"Wrote {output} ({size:.1f} MB); probabilities agree to {difference:.1e} on {what}")
    return 0


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
        parser, "folder whose valid/ holds photos to compare the two on; noise will do without it"
    )
    add(
        "--photos",
        type=whole_number(1),
        default=_PHOTOS,
        metavar="N",
        help="how many to compare on (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
