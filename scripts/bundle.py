"""Make the checkpoint in checkpoints/ anew: every run, average and fit it came about by, in order.

    STEPS -> one command each, of this folder's scripts
        -> OUTPUT/<step>, OUTPUT/bundled.onnx, OUTPUT/bundled-int8.onnx

A run that was broken off goes on where it was, and one that is complete is left as it is, so that
the same command is repeated until all is done.

python scripts/bundle.py --data data/oxford102 --output runs/bundle
python scripts/bundle.py --dry-run
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.training.resume import has_state
from model.training.trainer import CHECKPOINT_FILE
from scripts.command_line import add_data_option, command

_SCRIPTS: Final = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Training:
    """A run by a recipe, from the backbone's starting weights or from what another step left."""

    name: str
    recipe: str
    start: str | None = None


@dataclass(frozen=True)
class Average:
    """What other steps left, each times its share."""

    name: str
    shares: tuple[tuple[str, float], ...]


# The shares were chosen on valid and wild among a few.
STEPS: Final[tuple[Training | Average, ...]] = (
    Training("oxford", "oxford"),
    Training("first", "bundled"),
    Training("finish", "finish", start="first"),
    Average("soup", (("finish", 0.6), ("oxford", 0.4))),
    Training("everyday", "everyday", start="soup"),
    Average("mixed", (("everyday", 0.5), ("soup", 0.5))),
    Training("afield", "afield", start="mixed"),
    Average("last", (("afield", 0.5), ("mixed", 0.5))),
    Training("meadow", "meadow", start="last"),
    Average("wide", (("meadow", 0.5), ("last", 0.5))),
    Training("again", "meadow", start="wide"),
    Average("final", (("again", 0.5), ("wide", 0.5))),
    Training("dusk", "dusk", start="final"),
    Average("night", (("dusk", 0.5), ("final", 0.5))),
)
# The whole photo's middle, without the margin that training's validation leaves out.
_VIEW: Final = 288  # pixels
# It calls fewer everyday photos unknown than `contrast`, and keeps tulips and other species away.
_SCORE: Final = "max_logit"
# Everyday photos are at hand for some classes only; being one must not speak for these.
_EVERYDAY: Final = "wild_train"  # a folder beside the data
_OFFSET: Final = -0.5
# Classes whose photos differ much have lower logits: they shall not be called unknown for it.
_LEVEL_PRIOR: Final = 16  # photos


def commands(data: Path, output: Path, weights: Path | None) -> list[list[str]]:
    """Return the commands that are left to do, without the interpreter's name."""
    found: list[list[str]] = []
    for step in STEPS:
        if isinstance(step, Training):
            found += _training(step, data, output, weights)
        else:
            ingredients = [f"{_weights(output, name)}:{share:g}" for name, share in step.shares]
            found.append(
                [_script("average"), *ingredients, "--output", str(_weights(output, step.name))]
            )
    last, bundled = _weights(output, STEPS[-1].name), output / "bundled.safetensors"
    view = ["--resize", str(_VIEW), "--crop", str(_VIEW)]
    offset = ["--offset", f"{data.parent / _EVERYDAY}:{_OFFSET:g}"]
    rule = ["--score", _SCORE, "--level-prior", str(_LEVEL_PRIOR)]
    to = ["--data", str(data), *rule, *view, *offset, "--output", str(bundled)]
    found.append([_script("calibrate"), str(last), *to])
    for kind in ([], ["--int8"]):
        found.append([_script("export"), str(bundled), "--data", str(data), *kind])
    return found


def _training(step: Training, data: Path, output: Path, weights: Path | None) -> list[list[str]]:
    folder = output / step.name
    if has_state(folder):
        return [[_script("train"), "--resume", str(folder)]]
    if _weights(output, step.name).exists():
        return []
    start = ["--start", str(_weights(output, step.start))] if step.start else []
    local = ["--weights", str(weights)] if weights and not step.start else []
    options = ["--recipe", step.recipe, "--data", str(data), "--output", str(folder)]
    return [[_script("train"), *options, *start, *local]]


def _weights(output: Path, name: str) -> Path:
    return output / name / CHECKPOINT_FILE


def _script(name: str) -> str:
    return str(_SCRIPTS / f"{name}.py")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: that of the first command that fails, or 0."""
    parser = argparse.ArgumentParser(
        prog="bundle.py", description="Train the checkpoint that comes with the project anew."
    )
    add_data_option(parser, "folder that holds train/ and valid/")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/bundle"), metavar="FOLDER", help="where to"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="the backbone's starting weights, instead of fetching them from timm's hub",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the commands that are left, and do nothing"
    )
    options = parser.parse_args(argv)
    for line in commands(options.data, options.output, options.weights):
        print(shlex.join(["python", *line]), flush=True)
        if options.dry_run:
            continue
        code = subprocess.run([sys.executable, *line]).returncode  # noqa: S603 - our own scripts
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
