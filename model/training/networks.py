"""Networks that a run starts with: the network to train, and the teacher."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from model.backbones import build_network, freeze_backbone, freeze_groups
from model.checkpoint.format import load_checkpoint
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import Architecture
from model.imaging.transforms import EvaluationTransform
from model.training.config import TrainingConfig
from model.training.distillation import Teacher
from model.training.engine import TrainingError


def starting_network(
    options: TrainingConfig, architecture: Architecture, classes: Sequence[FlowerClass]
) -> nn.Module:
    """Build the network to train, with pretrained, random or a checkpoint's weights.

    A new head is initialized from torch's global generator. Layers are frozen as the options say.

    Args:
        options: Options of the run.
        architecture: Architecture of the network.
        classes: Classes in index order.

    Raises:
        BackboneError: timm has no such backbone, or its weights are missing.
        CheckpointError: The initial checkpoint is not usable.
        TrainingError: The initial checkpoint has another architecture or other classes.
    """
    if options.initial_checkpoint is None:
        network = build_network(
            architecture, pretrained=not options.from_scratch, weights=options.pretrained_path
        )
    else:
        network, metadata = load_checkpoint(options.initial_checkpoint)
        if (metadata.architecture, metadata.classes) != (architecture, tuple(classes)):
            raise TrainingError(
                f"{options.initial_checkpoint} differs from this run in architecture or classes. "
                "Use --pretrained-path to load only the backbone's weights."
            )
    if options.freeze_backbone:
        freeze_backbone(network)
    freeze_groups(network, options.freeze_groups)
    return network


def load_teacher(
    options: TrainingConfig, classes: Sequence[FlowerClass], transform: EvaluationTransform
) -> Teacher | None:
    """Load the teacher of the options; None without one.

    Args:
        options: Uses `teacher` and `distillation_temperature`.
        classes: Classes of the run in index order.
        transform: Evaluation transform of the network to train.

    Raises:
        CheckpointError: The teacher's checkpoint is not usable.
        TrainingError: The teacher has other classes.
    """
    if options.teacher is None:
        return None
    network, metadata = load_checkpoint(options.teacher)
    if metadata.classes != tuple(classes):
        raise TrainingError(f"--teacher {options.teacher} has other classes than this run.")
    return Teacher(network, metadata.transform, transform, options.distillation_temperature)
