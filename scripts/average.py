r"""Command line that averages the weights of checkpoints: a model soup.

    python scripts/average.py runs/a/checkpoint.safetensors:0.75 \
        runs/b/checkpoint.safetensors:0.25 --output soup.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from model.checkpoint.format import save_checkpoint
from model.training.weight_averaging import average_checkpoints
from scripts.command_line import OutputError, command, make_parent_folder

_ROUNDING: Final = 1e-6


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for a one-line error, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="average.py",
        description="Average the weights of checkpoints that were fine-tuned from the same "
        "weights. Calibrate the result with calibrate.py.",
    )
    parser.add_argument(
        "ingredients",
        type=_ingredient,
        nargs="+",
        metavar="CHECKPOINT:WEIGHT",
        help="a .safetensors file and its weight in the average; the weights sum to 1",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="checkpoint to write"
    )
    options = parser.parse_args(argv)
    if abs(sum(weight for _, weight in options.ingredients) - 1) > _ROUNDING:
        parser.error("the weights do not sum to 1")
    make_parent_folder(options.output)
    weights, metadata = average_checkpoints(options.ingredients)
    try:
        save_checkpoint(options.output, weights, metadata)
    except OSError as error:
        raise OutputError(f"{options.output} is not writable: {error.strerror}.") from error
    print(f"Wrote {options.output}; calibrate it with scripts/calibrate.py")
    return 0


def _ingredient(text: str) -> tuple[Path, float]:
    path, _, weight = text.rpartition(":")
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not path or not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not CHECKPOINT:WEIGHT with a weight above 0 and up to 1"
        )
    return Path(path), value


if __name__ == "__main__":
    sys.exit(main())
