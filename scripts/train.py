r"""Fine-tune a backbone on class folders of photos.

    python scripts/train.py --data data/oxford102
    python scripts/train.py --recipe densenet161 --data data/oxford102
    python scripts/train.py --data data/oxford102 --backbone vgg19 --freeze-backbone \
        --hidden-layers 512 256 --dropout 0.5 --optimizer adadelta --scheduler step
    python scripts/train.py --resume runs/densenet161-20261124-100000
    accelerate launch --multi-gpu scripts/train.py --data data/oxford102

DATA holds train/ and valid/, each with one folder of photos a class, and cat_to_name.json. A recipe
(article, bundled, densenet161, or a TOML file of your own) sets options; those beside it override.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from model.training.config import TrainingConfig
from model.training.recipes import read_recipe
from model.training.trainer import Interrupted, read_config, train
from scripts.command_line import INTERRUPTED, command


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Train, or resume; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    resumed = "--resume" in arguments
    if resumed:
        parser = argparse.ArgumentParser(
            description="Go on with a run; its options are those it was started with."
        )
        parser.add_argument("--resume", type=Path, required=True, metavar="RUN")
        options = read_config(parser.parse_args(arguments).resume)
    else:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--recipe", metavar="NAME")
        chosen, rest = parser.parse_known_args(arguments)
        recipe = read_recipe(chosen.recipe) if chosen.recipe else TrainingConfig()
        options = tyro.cli(TrainingConfig, args=rest, default=recipe, description=__doc__)
    try:
        train(options, resume=resumed)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
