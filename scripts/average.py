"""Average the weights of checkpoints that started alike: a model soup.

    CHECKPOINT:SHARE ... -> weights, each times its share, summed -> OUTPUT, to be calibrated

Networks fine-tuned from the same weights in different ways often lie in one basin, where their
average is more robust than each of them, at no cost in serving (Wortsman et al. 2022, "Model
soups"). The average's own temperature and rule are to be fitted by scripts/calibrate.py.

python scripts/average.py runs/a/checkpoint.safetensors:0.75 runs/b/checkpoint.safetensors:0.25 \
    --output soup.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from model.checkpoint.format import load_checkpoint, save_checkpoint
from model.checkpoint.metadata import Metadata
from model.errors import PetalscopeError
from model.training.trainer import CHECKPOINT_FILE
from scripts.command_line import OutputError, command, make_folder_of

_ROUNDING: Final = 1e-6


class AverageError(PetalscopeError):
    """The checkpoints cannot be averaged."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for an error told in one line, 2 for usage."""
    parser = argparse.ArgumentParser(
        prog="average.py", description="Average the weights of checkpoints that started alike."
    )
    parser.add_argument(
        "ingredients",
        type=_ingredient,
        nargs="+",
        metavar="CHECKPOINT:SHARE",
        help="a .safetensors file of train.py and its share of the average; the shares sum to 1",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="where to")
    options = parser.parse_args(argv)
    if abs(sum(share for _, share in options.ingredients) - 1) > _ROUNDING:
        parser.error("the shares do not sum to 1")
    make_folder_of(options.output)
    weights, metadata = average(options.ingredients)
    try:
        save_checkpoint(options.output, weights, metadata)
    except OSError as error:
        raise OutputError(f"{options.output} cannot be written: {error.strerror}.") from error
    print(f"Wrote {options.output}; fit it with scripts/calibrate.py")
    return 0


def average(
    ingredients: Sequence[tuple[Path, float]],
) -> tuple[dict[str, torch.Tensor], Metadata]:
    """Average checkpoints; the metadata are those of the first, without what was measured on it.

    Raises:
        CheckpointError: A file cannot be used.
        AverageError: They differ in architecture, classes or transform.
    """
    first: Metadata | None = None
    sums: dict[str, torch.Tensor] = {}
    kinds: dict[str, torch.dtype] = {}
    for path, share in ingredients:
        network, metadata = load_checkpoint(path)
        first = first or metadata
        same = (metadata.architecture, metadata.classes, metadata.transform) == (
            first.architecture,
            first.classes,
            first.transform,
        )
        if not same:
            raise AverageError(
                f"{path} differs from {ingredients[0][0]} in architecture, classes or transform."
            )
        for name, tensor in network.state_dict().items():
            kinds[name] = tensor.dtype
            sums[name] = sums.get(name, 0) + share * tensor.double()
    assert first is not None  # noqa: S101 - argparse asks for one at least
    described = [f"{share:g} × {_name(path)}" for path, share in ingredients]
    metadata = replace(
        first,
        temperature=1.0,
        ood_rule=None,
        metrics={},
        training={**first.training, "average": described},
    )
    return {name: tensor.to(kinds[name]) for name, tensor in sums.items()}, metadata


def _name(path: Path) -> str:
    # Every run's checkpoint has the same name: the run's folder tells one from the other.
    return path.parent.name if path.name == CHECKPOINT_FILE else path.name


def _ingredient(text: str) -> tuple[Path, float]:
    path, _, share = text.rpartition(":")
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if not path or not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not CHECKPOINT:SHARE with a share above 0 and up to 1"
        )
    return Path(path), value


if __name__ == "__main__":
    sys.exit(main())
