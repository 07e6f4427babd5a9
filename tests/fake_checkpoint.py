"""A fake checkpoint, whose network returns the same logits for every photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from model.backbones import build_network, data_transform
from model.backends.onnx_export import export
from model.checkpoint.format import load_checkpoint, save_checkpoint
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
    """Write a checkpoint that returns `logits`, one per class, for every photo.

    A path that ends in .onnx is exported from a .safetensors file beside it.
    """
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
    checkpoint = path.with_suffix(".safetensors")
    save_checkpoint(checkpoint, network.state_dict(), metadata)
    if path.suffix == ".onnx":
        export(*load_checkpoint(checkpoint), path)
    return path


def always(index: int) -> list[float]:
    """Return logits of the six tiny classes of which `index` is by far the highest."""
    return [9.0 if other == index else float(other) for other in range(len(TINY_CLASSES))]
