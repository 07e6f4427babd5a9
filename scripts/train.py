r"""Command line of the training.

    python scripts/train.py --data data/oxford102
    python scripts/train.py --data photos --valid-fraction 0.2
    python scripts/train.py --recipe densenet161 --data data/oxford102
    python scripts/train.py --data data/oxford102 --backbone vgg19 --freeze-backbone \
        --hidden-layers 512 256 --dropout 0.5 --optimizer adadelta --scheduler step
    python scripts/train.py --resume runs/densenet161-20261124-100000
    torchrun --nproc-per-node 2 scripts/train.py --data data/oxford102
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from accelerate import PartialState

from model.training.config import TrainingConfig
from model.training.recipes import read_recipe
from model.training.run_folder import read_config
from model.training.trainer import Interrupted, train
from scripts.command_line import INTERRUPTED, command


@dataclass(frozen=True)
class _Arguments:
    """Fine-tune a backbone on class folders of photos."""

    recipe: str | None = None
    """Recipe (densenet161, densenet161_frozen, lite2) or TOML file that sets the defaults of the
    options below."""
    resume: Path | None = None
    """Run folder of an interrupted run to continue. Takes no other options."""
    config: tyro.conf.OmitArgPrefixes[TrainingConfig] = field(default_factory=TrainingConfig)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Train, or resume; return the exit code."""
    config, resume = _parse(sys.argv[1:] if argv is None else argv)
    try:
        train(config, resume=resume)
    except Interrupted as stop:
        if PartialState().is_main_process:
            print(stop, file=sys.stderr)
        return INTERRUPTED
    return 0


def _parse(argv: Sequence[str]) -> tuple[TrainingConfig, bool]:
    # The recipe sets the defaults of all other options, so it is read before they are.
    parser = argparse.ArgumentParser(prog="train.py", add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe")
    parser.add_argument("--resume", type=Path)
    early, others = parser.parse_known_args(argv)
    wants_help = not {"-h", "--help"}.isdisjoint(others)
    if early.resume and not wants_help:
        if early.recipe or others:
            conflict = "--recipe" if early.recipe else others[0]
            parser.error(f"--resume takes its options from the run folder; remove {conflict}")
        return read_config(early.resume), True
    defaults = read_recipe(early.recipe) if early.recipe else TrainingConfig()
    arguments = tyro.cli(_Arguments, args=others, default=_Arguments(config=defaults))
    return arguments.config, False


if __name__ == "__main__":
    sys.exit(main())
