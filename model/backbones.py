"""Networks: any timm image-classification backbone by name, under a head of our own.

The head takes the place of timm's classifier inside the timm model, so that timm's layer groups,
feature extraction and data configuration work as they do on the original.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import timm
from torch import nn

from model.errors import PetalscopeError
from model.transforms import EvaluationTransform

_CLOSEST_NAMES: Final = 5


class BackboneError(PetalscopeError):
    """The backbone is unknown, cannot take the head, or its weights cannot be had."""


class UnknownBackboneError(BackboneError):
    """timm has no image-classification model of this name."""


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network again, but for its weights.

    Attributes:
        backbone: timm's name of the model, "densenet161".
        num_classes: Number of logits.
        hidden_layers: Widths of the head's hidden layers; empty for one linear layer.
        dropout: Probability of dropout before each linear layer of the head but the first; with
            no hidden layers, before the only one.
    """

    backbone: str
    num_classes: int
    hidden_layers: tuple[int, ...] = ()
    dropout: float = 0.0


def build_network(
    architecture: Architecture, *, pretrained: bool = False, weights: Path | None = None
) -> nn.Module:
    """Build a network that takes float32 N×3×H×W and gives logits N×num_classes.

    Args:
        architecture: What to build.
        pretrained: Start the backbone from timm's pretrained weights, fetched from timm's hub.
        weights: Start it from this local file instead (safetensors in timm's key names, or in the
            original's where timm knows how to convert them). The head always starts at random.

    Raises:
        UnknownBackboneError: No such backbone; the message lists the nearest names.
        BackboneError: The weights cannot be fetched, read or fitted, or hidden layers were asked
            for on a backbone whose classifier is not one linear layer.
    """
    name = architecture.backbone
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=_CLOSEST_NAMES, cutoff=0.5)
        nearest = f"The nearest names are {', '.join(close)}." if close else ""
        raise UnknownBackboneError(f"timm has no backbone named {name!r}. {nearest}".rstrip())
    if weights is not None and not weights.is_file():
        raise BackboneError(f"There is no file of weights at {weights}.")
    try:
        network: nn.Module = timm.create_model(
            name,
            pretrained=pretrained or weights is not None,
            num_classes=architecture.num_classes,
            pretrained_cfg_overlay={"file": str(weights)} if weights else None,
        )
    except Exception as error:
        # timm lets through whatever its hub client, file reader or state dict raises.
        if weights is not None:
            raise BackboneError(
                f"The weights in {weights} do not fit {name}, or the file is damaged."
            ) from error
        if pretrained:
            raise BackboneError(
                f"The pretrained weights of {name} could not be fetched from timm's hub. "
                "Give a local file of them (--weights FILE), or start at random (--from-scratch)."
            ) from error
        raise
    _replace_classifier(network, architecture)
    return network


def data_transform(network: nn.Module, image_size: int | None = None) -> EvaluationTransform:
    """Build the evaluation transform from the backbone's own data configuration.

    Args:
        network: As `build_network` returns it.
        image_size: Side of the input in pixels, where not the backbone's own.
    """
    config: Mapping[str, Any] = timm.data.resolve_model_data_config(network)
    return EvaluationTransform.from_data_config(config, image_size)


def head_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of the head: all that a frozen backbone leaves to train."""
    return list(_classifier(network).parameters())


def freeze_backbone(network: nn.Module) -> None:
    """Keep every parameter but the head's from changing.

    Batch statistics are kept too, by `set_train_mode`.
    """
    network.requires_grad_(False)
    for parameter in head_parameters(network):
        parameter.requires_grad_(True)


def set_train_mode(network: nn.Module) -> None:
    """Enter training mode; a module with nothing to train stays as it is in evaluation.

    Otherwise a frozen backbone would go on learning batch statistics and dropping features.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters(recurse=True))
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _classifier(network: nn.Module) -> nn.Module:
    classifier = network.get_classifier()  # type: ignore[operator]
    assert isinstance(classifier, nn.Module)  # noqa: S101
    return classifier


def _replace_classifier(network: nn.Module, architecture: Architecture) -> None:
    if not architecture.hidden_layers and not architecture.dropout:
        return
    classifier = _classifier(network)
    if not isinstance(classifier, nn.Linear):
        raise BackboneError(
            f"The classifier of {architecture.backbone} is not one linear layer; "
            "hidden layers and dropout can only take the place of one."
        )
    parent, _, attribute = str(network.pretrained_cfg["classifier"]).rpartition(".")  # type: ignore[index]
    head = _head(classifier.in_features, architecture)
    setattr(network.get_submodule(parent), attribute, head)


def _head(in_features: int, architecture: Architecture) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in architecture.hidden_layers:
        layers += [nn.Linear(in_features, width), nn.ReLU(), nn.Dropout(architecture.dropout)]
        in_features = width
    if not architecture.hidden_layers:
        layers.append(nn.Dropout(architecture.dropout))
    return nn.Sequential(*layers, nn.Linear(in_features, architecture.num_classes))
