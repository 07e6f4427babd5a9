"""Networks: any timm image-classification backbone by name, under a head of our own.

The head takes the place of timm's classifier inside the timm model, so that timm's layer groups,
feature extraction and data configuration work as they do on the original.
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
    """The backbone is unknown, cannot take the head, or its weights cannot be loaded."""


class UnknownBackboneError(BackboneError):
    """timm has no image-classification model of this name, or no weights of this tag."""


def build_network(
    architecture: Architecture, *, pretrained: bool = False, weights: Path | None = None
) -> nn.Module:
    """Build a network that takes float32 N×3×H×W and gives logits N×num_classes.

    Args:
        architecture: What to build.
        pretrained: Start the backbone from timm's pretrained weights, fetched from timm's hub.
        weights: Start it from this local file instead: safetensors in timm's key names, such as a
            checkpoint of ours, or in the original's where timm knows how to convert them. The head
            always starts at random.

    Raises:
        UnknownBackboneError: No such backbone; the message lists the nearest names.
        BackboneError: The weights cannot be fetched, read or fitted, or hidden layers were asked
            for on a backbone whose classifier is not one linear layer.
    """
    name = architecture.backbone
    if not _is_known(name):
        names = [*timm.list_models(), *timm.list_pretrained()]
        close = difflib.get_close_matches(name, names, n=_CLOSEST_NAMES, cutoff=0.5)
        nearest = f"The nearest names are {', '.join(close)}." if close else ""
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
            # For want of a head, timm passes over names that it does not know. With the original's
            # head it does not, once it has converted the original's names.
            timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": tensors})
    except Exception as error:
        # timm lets through whatever its hub client or state dict raises.
        if weights is not None:
            raise BackboneError(f"The weights in {weights} are not those of {name}.") from error
        if pretrained:
            raise BackboneError(
                f"The pretrained weights of {name} could not be fetched from timm's hub. "
                "Give a local file (--pretrained-path FILE), or start at random (--from-scratch)."
            ) from error
        raise
    _pretrained_config(network).pop("state_dict", None)
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


@torch.no_grad()
def add_to_logits(network: nn.Module, offsets: torch.Tensor) -> None:
    """Add to each class's logit, once and for all, by the bias of the head's last layer.

    Args:
        network: As `build_network` returns it.
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
    """Keep every parameter but the head's from changing.

    Batch statistics are kept too, by `set_train_mode`.
    """
    network.requires_grad_(False)
    for parameter in head_parameters(network):
        parameter.requires_grad_(True)


def freeze_groups(network: nn.Module, count: int) -> None:
    """Keep the parameters of the first `count` of timm's coarse layer groups from changing.

    The first is the stem; blocks or stages follow. They cost most of a training step's time and
    hold few of its parameters, and what they see, edges and colours, is the same in any photo.

    Raises:
        BackboneError: The network has not so many groups, or would have nothing left to train.
    """
    matcher = network.group_matcher(coarse=True)  # type: ignore[operator]
    groups = list(group_parameters(network, matcher).values())
    if count >= len(groups):
        raise BackboneError(
            f"The backbone has {len(groups)} layer groups, of which {count} cannot be frozen; "
            f"the most is {len(groups) - 1}."
        )
    for name in (name for group in groups[:count] for name in group):
        network.get_parameter(name).requires_grad_(False)


def set_train_mode(network: nn.Module) -> None:
    """Enter training mode; a module with nothing to train stays as it is in evaluation.

    Otherwise a frozen backbone would go on learning batch statistics and dropping features.
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
        raise BackboneError(f"There is no file of weights at {path}.")
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise BackboneError(
            f"The weights in {path} cannot be read: the file is damaged, or is not safetensors."
        ) from error
    if not tensors:
        raise BackboneError(f"There is not one weight in {path}.")
    return tensors


def _names_agree(network: nn.Module, names: Set[str]) -> bool:
    heads = tuple(f"{name}." for name in _classifier_names(network))
    differing = names ^ network.state_dict().keys()
    # Counters of batches are of no use in inference, and older files lack them.
    return all(name.startswith(heads) or "num_batches_" in name for name in differing)


def _pretrained_config(network: nn.Module) -> dict[str, Any]:
    config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    return config


def _classifier_names(network: nn.Module) -> tuple[str, ...]:
    names = _pretrained_config(network)["classifier"] or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _classifier(network: nn.Module) -> nn.Module:
    classifier = network.get_classifier()  # type: ignore[operator]
    # Distilled transformers have two, and average what they say.
    return classifier if isinstance(classifier, nn.Module) else nn.ModuleList(classifier)


def _replace_classifier(network: nn.Module, architecture: Architecture) -> None:
    if not architecture.hidden_layers and not architecture.dropout:
        return
    classifier = _classifier(network)
    if not isinstance(classifier, nn.Linear):
        raise BackboneError(
            f"The classifier of {architecture.backbone} is not one linear layer; "
            "hidden layers and dropout can only take the place of one."
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
