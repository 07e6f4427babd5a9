"""Command line that writes a checkpoint as an ONNX file and compares the two on photos.

python scripts/export.py checkpoints/tf_efficientnet_lite2.safetensors
python scripts/export.py checkpoints/tf_efficientnet_lite2.safetensors --int8
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from model import int8_path
from model.backends.export_check import DEFAULT_MAX_LOST, export_float32, export_int8
from scripts.command_line import (
    OutputError,
    add_calibration_option,
    add_data_option,
    command,
    data_folder,
    fraction,
    make_parent_folder,
    whole_number,
)

_PHOTOS: Final = 200


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for a one-line error, 2 for wrong usage."""
    options = _parser().parse_args(argv)
    checkpoint: Path = options.checkpoint
    default = int8_path(checkpoint) if options.int8 else checkpoint.with_suffix(".onnx")
    output = options.output or default
    make_parent_folder(output)
    data = data_folder(options)
    try:
        if options.int8:
            agreement = export_int8(
                checkpoint, output, data, options.calibration_data, options.max_lost
            )
        else:
            agreement = export_float32(checkpoint, output, data / "valid", options.photos)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror}.") from error
    print(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB); {agreement}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py",
        description="Write a checkpoint as an ONNX file, for services and phones without PyTorch.",
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a .safetensors file of train.py")
    add(
        "--output",
        type=Path,
        metavar="FILE.onnx",
        help="file to write (default: beside CHECKPOINT)",
    )
    add_data_option(
        parser,
        "folder whose valid/ holds photos to compare the two on, and whose train/ holds photos to "
        "calibrate --int8; without valid/, noise is used except for --int8",
        of_run=True,
    )
    add_calibration_option(
        parser, "photos that check --int8 and fit its temperature and OOD threshold"
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--photos",
        type=whole_number(1),
        default=_PHOTOS,
        metavar="N",
        help="number of photos to compare on (default: %(default)s)",
    )
    kinds.add_argument(
        "--int8",
        action="store_true",
        help="quantize to 8 bits and compare on all photos of --calibration-data",
    )
    add(
        "--max-lost",
        type=fraction,
        default=DEFAULT_MAX_LOST,
        metavar="F",
        help="largest fraction of these photos that --int8 may classify wrongly in addition; if it "
        "is more, nothing is written (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
