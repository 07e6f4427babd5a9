"""Networks: any timm image-classification backbone by name, with Petalscope's head.

The head replaces the classifier inside the timm model, so timm's layer groups, feature extraction
and data configuration still work.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import timm
import torch
from timm.models import group_parameters
from torch import nn

from model.checkpoint.metadata import Architecture
from model.errors import PetalscopeError
from model.imaging.transforms import EvaluationTransform

_CLOSEST_NAMES: Final = 5


class BackboneError(PetalscopeError):
    """A backbone that cannot be built: unknown, incompatible with the head, or without weights."""


class UnknownBackboneError(BackboneError):
    """A name that timm has no image-classification model for, or a tag without weights."""


def build_network(
    architecture: Architecture, *, pretrained: bool = False, weights: Path | None = None
) -> nn.Module:
    """Build a network from float32 (N, 3, H, W) to logits, float32 (N, num_classes).

    Args:
        architecture: Backbone and head. The head always starts at random.
        pretrained: Initialize the backbone with timm's pretrained weights, downloaded from its hub.
        weights: Initialize the backbone from this safetensors file instead. Its keys are timm's, as
            in a checkpoint, or the original model's if timm can convert them.

    Raises:
        UnknownBackboneError: There is no such backbone; the message lists the nearest names.
        BackboneError: The weights cannot be downloaded, read or matched, or the architecture has
            hidden layers or dropout and the backbone's classifier is not one linear layer.
    """
    name = architecture.backbone
    if not _is_known(name):
        names = [*timm.list_models(), *timm.list_pretrained()]
        close = difflib.get_close_matches(name, names, n=_CLOSEST_NAMES, cutoff=0.5)
        nearest = f"Similar names: {', '.join(close)}." if close else ""
        raise UnknownBackboneError(f"timm has no backbone named {name!r}. {nearest}".rstrip())
    tensors = _read_weights(weights) if weights is not None else None
    try:
        network: nn.Module = timm.create_model(
            name,
            pretrained=pretrained or tensors is not None,
            num_classes=architecture.num_classes,
            pretrained_cfg_overlay=None if tensors is None else {"state_dict": tensors},
        )
        if tensors is not None and not _names_agree(network, tensors.keys()):
            # With a replaced head timm ignores unknown keys. With the original head it raises.
            timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": tensors})
    except Exception as error:
        # timm passes on any exception of its hub client or state dict.
        if weights is not None:
            raise BackboneError(f"The weights in {weights} are not those of {name}.") from error
        if pretrained:
            raise BackboneError(
                f"The pretrained weights of {name} could not be downloaded from timm's hub. "
                "Give a local file (--pretrained-path FILE), or start at random (--from-scratch)."
            ) from error
        raise
    _pretrained_config(network).pop("state_dict", None)
    _replace_classifier(network, architecture)
    return network


def data_transform(network: nn.Module, image_size: int | None = None) -> EvaluationTransform:
    """Build the evaluation transform from the backbone's data configuration.

    Args:
        network: Return value of `build_network`.
        image_size: Side of the input in pixels; None for the backbone's own.
    """
    config: Mapping[str, Any] = timm.data.resolve_model_data_config(network)
    return EvaluationTransform.from_data_config(config, image_size)


def head_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of the head, the only trainable ones with a frozen backbone."""
    return list(_classifier(network).parameters())


@torch.no_grad()
def add_to_logits(network: nn.Module, offsets: torch.Tensor) -> None:
    """Add constants to the logits, in place, through the bias of the head's last layer.

    Args:
        network: Return value of `build_network`.
        offsets: float32 (num_classes,).

    Raises:
        BackboneError: The head does not end in a linear layer with a bias.
    """
    classifier = _classifier(network)
    for head in classifier if isinstance(classifier, nn.ModuleList) else [classifier]:
        last = list(head.modules())[-1]
        if not isinstance(last, nn.Linear) or last.bias is None:
            raise BackboneError("The head does not end in a linear layer with a bias.")
        last.bias.add_(offsets)


def freeze_backbone(network: nn.Module) -> None:
    """Freeze all parameters except the head's; `set_train_mode` freezes batch statistics."""
    network.requires_grad_(False)
    for parameter in head_parameters(network):
        parameter.requires_grad_(True)


def freeze_groups(network: nn.Module, count: int) -> None:
    """Freeze the parameters of timm's first coarse layer groups: the stem, then blocks or stages.

    Early groups take most of the time of a training step, hold few parameters, and detect edges and
    colours that are the same in any photo.

    Args:
        network: Return value of `build_network`.
        count: Number of groups to freeze, fewer than the network has.

    Raises:
        BackboneError: The network has too few groups.
    """
    matcher = network.group_matcher(coarse=True)  # type: ignore[operator]
    groups = list(group_parameters(network, matcher).values())
    if count >= len(groups):
        raise BackboneError(
            f"The backbone has {len(groups)} layer groups; {count} cannot be frozen, at most "
            f"{len(groups) - 1} can."
        )
    for name in (name for group in groups[:count] for name in group):
        network.get_parameter(name).requires_grad_(False)


def set_train_mode(network: nn.Module) -> None:
    """Set training mode, except for modules without trainable parameters.

    Otherwise a frozen backbone would update its batch statistics and apply dropout.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters(recurse=True))
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _is_known(name: str) -> bool:
    try:
        return timm.is_model(name) and timm.get_pretrained_cfg(name) is not None
    except RuntimeError:  # a tag ("resnet18.tag") that the model does not have
        return False


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise BackboneError(f"There is no weights file at {path}.")
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise BackboneError(
            f"The weights in {path} cannot be read: the file is damaged or not safetensors."
        ) from error
    if not tensors:
        raise BackboneError(f"{path} holds no weights.")
    return tensors


def _names_agree(network: nn.Module, names: Set[str]) -> bool:
    heads = tuple(f"{name}." for name in _classifier_names(network))
    differing = names ^ network.state_dict().keys()
    # Inference does not use batch counters, and older files lack them.
    return all(name.startswith(heads) or "num_batches_" in name for name in differing)


def _pretrained_config(network: nn.Module) -> dict[str, Any]:
    config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    return config


def _classifier_names(network: nn.Module) -> tuple[str, ...]:
    names = _pretrained_config(network)["classifier"] or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _classifier(network: nn.Module) -> nn.Module:
    classifier = network.get_classifier()  # type: ignore[operator]
    # Distilled transformers have two heads and average their logits.
    return classifier if isinstance(classifier, nn.Module) else nn.ModuleList(classifier)


def _replace_classifier(network: nn.Module, architecture: Architecture) -> None:
    if not architecture.hidden_layers and not architecture.dropout:
        return
    classifier = _classifier(network)
    if not isinstance(classifier, nn.Linear):
        raise BackboneError(
            f"The classifier of {architecture.backbone} is not one linear layer; "
            "hidden layers and dropout can only replace such a layer."
        )
    parent, _, attribute = _classifier_names(network)[0].rpartition(".")
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
