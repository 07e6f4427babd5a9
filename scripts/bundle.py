"""Command line that trains, calibrates and quantizes the bundled model.

Training has two stages; the second starts from the weights of the first, and the model is the
average of both. Repeat the same command after an interruption: an incomplete training is resumed, a
complete one is kept.

    python scripts/bundle.py --data data/oxford102 --output runs/bundle
    python scripts/bundle.py --dry-run
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from model import BUNDLED_CHECKPOINT
from model.training.run_folder import CHECKPOINT_FILE, run_status
from scripts.command_line import add_data_option, command

_SCRIPTS: Final = Path(__file__).resolve().parent
# Recipes in order, each with the recipe whose weights it starts from; None: pretrained weights.
_RUNS: Final = {"lite2": None, "lite2_finish": "lite2"}
_AVERAGE: Final = {"lite2": 0.5, "lite2_finish": 0.5}  # E39 in docs/accuracy.md
_IMAGE_SIZE: Final = "288"  # pixels; the whole central square, unlike validation during training
# Users' photos resemble everyday_dev more than valid.
_CALIBRATION_DATA: Final = ("--calibration-data", "valid", "../everyday_dev")
# Score: E40 in docs/accuracy.md.
_CALIBRATION: Final = (
    "--score",
    "contrast",
    "--class-mean-shrinkage",
    "16",
    "--target-tpr",
    "0.93",
    *_CALIBRATION_DATA,
)


def commands(data: Path, output: Path, pretrained_path: Path | None = None) -> list[list[str]]:
    """Return the remaining commands, without the name of the interpreter.

    Args:
        data: Data folder with train/ and valid/.
        output: Folder for the runs and the bundled files.
        pretrained_path: Local file of the backbone's pretrained weights.
    """
    checkpoints = {recipe: output / recipe / CHECKPOINT_FILE for recipe in _RUNS}
    average, bundled = str(output / "average.safetensors"), str(output / BUNDLED_CHECKPOINT.name)
    steps: list[list[str]] = []
    for recipe, first_stage in _RUNS.items():
        run = output / recipe
        if run_status(run) == "incomplete":
            steps.append(["train", "--resume", str(run)])
        elif not checkpoints[recipe].exists():
            options = ["--recipe", recipe, "--data", str(data), "--output", str(run)]
            if first_stage is not None:
                options += ["--initial-checkpoint", str(checkpoints[first_stage])]
            elif pretrained_path is not None:
                options += ["--pretrained-path", str(pretrained_path)]
            steps.append(["train", *options])
    ingredients = [f"{checkpoints[recipe]}:{weight}" for recipe, weight in _AVERAGE.items()]
    steps.append(["average", *ingredients, "--output", average])
    size = ["--eval-resize", _IMAGE_SIZE, "--eval-crop", _IMAGE_SIZE]
    stored = ["--checkpoint-dtype", "float16", "--output", bundled]
    options = ["--data", str(data), *_CALIBRATION, *size, *stored]
    steps.append(["calibrate", average, *options])
    steps.append(["export", bundled, "--data", str(data), "--int8", *_CALIBRATION_DATA])
    return [[str(_SCRIPTS / f"{script}.py"), *arguments] for script, *arguments in steps]


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return the exit code of the first command that fails, or 0."""
    parser = argparse.ArgumentParser(
        prog="bundle.py", description="Train, calibrate and quantize the bundled model."
    )
    add_data_option(parser, "folder that holds train/ and valid/")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/bundle"),
        metavar="FOLDER",
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument(
        "--pretrained-path",
        type=Path,
        metavar="FILE",
        help="the backbone's pretrained weights (default: timm downloads them)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print the remaining commands")
    options = parser.parse_args(argv)
    for line in commands(options.data, options.output, options.pretrained_path):
        print(shlex.join(["python", *line]), flush=True)
        if options.dry_run:
            continue
        code = subprocess.run([sys.executable, *line]).returncode  # noqa: S603 - our own scripts
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
