"""Weight averaging of checkpoints (Wortsman et al. 2022, "Model soups").

Networks that were fine-tuned from the same weights often lie in one loss basin. Their average is
then more robust than each of them and costs nothing in serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from model.checkpoint.format import load_checkpoint
from model.checkpoint.metadata import Metadata
from model.errors import PetalscopeError
from model.training.run_folder import CHECKPOINT_FILE


class AverageError(PetalscopeError):
    """Checkpoints that cannot be averaged."""


def average_checkpoints(
    ingredients: Sequence[tuple[Path, float]],
) -> tuple[dict[str, torch.Tensor], Metadata]:
    """Return the weighted average of checkpoints, to be calibrated.

    Sums are in float64; the results have the data types of the first checkpoint. The metadata is
    that of the first checkpoint without its measurements, temperature and OOD rule.

    Args:
        ingredients: Checkpoints and their weights, at least one; the weights sum to 1.

    Raises:
        CheckpointError: A file is not a usable checkpoint.
        AverageError: The checkpoints differ in architecture, classes or transform.
    """
    (first_path, weight), *others = ingredients
    network, first = load_checkpoint(first_path)
    state = network.state_dict()
    dtypes = {name: tensor.dtype for name, tensor in state.items()}
    sums = {name: weight * tensor.double() for name, tensor in state.items()}
    for path, weight in others:
        network, metadata = load_checkpoint(path)
        if _compatibility(metadata) != _compatibility(first):
            raise AverageError(
                f"{path} differs from {first_path} in architecture, classes or transform."
            )
        for name, tensor in network.state_dict().items():
            sums[name] += weight * tensor.double()
    described = [f"{weight:g} × {_name(path)}" for path, weight in ingredients]
    metadata = replace(
        first,
        temperature=1.0,
        ood_rule=None,
        metrics={},
        training={**first.training, "average": described},
    )
    return {name: tensor.to(dtypes[name]) for name, tensor in sums.items()}, metadata


def _compatibility(metadata: Metadata) -> tuple[object, ...]:
    return metadata.architecture, metadata.classes, metadata.transform


def _name(path: Path) -> str:
    # Checkpoints of runs all have the same file name; the run folder identifies them.
    return path.parent.name if path.name == CHECKPOINT_FILE else path.name
