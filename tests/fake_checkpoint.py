"""A fake checkpoint, whose network returns the same logits for every photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from model.backbones import build_network, data_transform
from model.checkpoint.format import save_checkpoint
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import Architecture, Metadata
from model.ood import OodRule
from tests.conftest import TINY_CLASSES


def save_fake_checkpoint(
    path: Path,
    logits: Sequence[float],
    *,
    classes: Sequence[FlowerClass] = TINY_CLASSES,
    temperature: float = 1.0,
    ood_rule: OodRule | None = None,
) -> Path:
    """Write a checkpoint that returns `logits`, one per class, for every photo."""
    architecture = Architecture("test_efficientnet", len(classes))
    network = build_network(architecture)
    classifier = network.get_classifier()  # type: ignore[operator]
    assert isinstance(classifier, nn.Linear)
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.bias.copy_(torch.tensor(logits))
    metadata = Metadata(
        architecture, tuple(classes), data_transform(network), temperature, ood_rule=ood_rule
    )
    save_checkpoint(path, network.state_dict(), metadata)
    return path


def always(index: int) -> list[float]:
    """Return logits of the six tiny classes of which `index` is by far the highest."""
    return [9.0 if other == index else float(other) for other in range(len(TINY_CLASSES))]
