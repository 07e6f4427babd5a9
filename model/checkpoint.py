"""The checkpoint: one safetensors file that rebuilds its model and says how it came about.

    training -> Checkpoint -> save_checkpoint -> FILE.safetensors -> load_checkpoint -> Classifier

The header of a safetensors file may hold a map of text to text; all metadata stands there as one
JSON object under the key "petalscope". `read_metadata` reads it without touching a weight. Nothing
is ever pickled: unpickling a file can run any code that its author liked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import nn

from model.atomic import replacing
from model.backbones import Architecture, UnknownBackboneError, build_network
from model.errors import PetalscopeError
from model.labels import FlowerClass
from model.transforms import EvaluationTransform

FORMAT_VERSION: Final = 1
_METADATA_KEY: Final = "petalscope"
_LARGEST_HEADER: Final = 100_000_000  # as the safetensors format limits it


class CheckpointError(PetalscopeError):
    """A checkpoint that cannot be used."""


class CheckpointNotFoundError(CheckpointError):
    """There is no such file, or it cannot be read."""


class NotACheckpointError(CheckpointError):
    """The file is not safetensors, or carries no metadata of this project."""


class TruncatedCheckpointError(CheckpointError):
    """The file ends before its last weight."""


class CheckpointVersionError(CheckpointError):
    """The file is of a format version that this program does not read."""


class UnknownArchitectureError(CheckpointError):
    """The file asks for a backbone that timm does not have."""


class MismatchedWeightsError(CheckpointError):
    """Names or shapes of the weights are not those of the architecture."""


class MismatchedClassesError(CheckpointError):
    """The list of classes and the number of logits disagree."""


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint says about itself.

    Attributes:
        architecture: What to build.
        classes: Class ids and names in index order: logit i belongs to `classes[i]`.
        transform: The evaluation transform that the network expects.
        temperature: What logits are divided by before the softmax.
        training: The options it was trained with.
        metrics: A map from the name of a split to its measures, the number of photos as "n".
        versions: A map from the name of a library to its version at training.
        revision: Source revision it was trained at.
        created: Time of writing, ISO 8601 in UTC.
    """

    architecture: Architecture
    classes: tuple[FlowerClass, ...]
    transform: EvaluationTransform
    temperature: float = 1.0
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""
    created: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata as JSON-ready values."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metadata:
        """Rebuild the metadata from `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: Values are missing or wrong.
        """
        architecture = values["architecture"]
        return cls(
            architecture=Architecture(
                backbone=str(architecture["backbone"]),
                num_classes=int(architecture["num_classes"]),
                hidden_layers=tuple(int(width) for width in architecture["hidden_layers"]),
                dropout=float(architecture["dropout"]),
            ),
            classes=tuple(
                FlowerClass(str(item["class_id"]), str(item["name"])) for item in values["classes"]
            ),
            transform=EvaluationTransform.from_dict(values["transform"]),
            temperature=float(values["temperature"]),
            training=dict(values["training"]),
            metrics=dict(values["metrics"]),
            versions=dict(values["versions"]),
            revision=str(values["revision"]),
            created=str(values["created"]),
        )


def save_checkpoint(
    path: Path,
    weights: Mapping[str, torch.Tensor],
    metadata: Metadata,
    *,
    half_precision: bool = False,
) -> None:
    """Write a checkpoint atomically: `path` holds the old file or the whole new one.

    Args:
        path: Where to; folders are made.
        weights: The network's state dict, on any device.
        metadata: What it says about itself.
        half_precision: Store matrices and kernels as float16, half the size. Vectors (biases,
            batch statistics) stay float32: some variances are too small for float16.

    Raises:
        OSError: The file cannot be written.
    """
    tensors = {name: _stored(tensor, half_precision) for name, tensor in weights.items()}
    header = {_METADATA_KEY: json.dumps(metadata.to_dict(), ensure_ascii=False)}
    with replacing(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=header)


def read_metadata(path: Path) -> Metadata:
    """Read what a checkpoint says about itself, without its weights.

    Raises:
        CheckpointError: In its subclasses, all but those that need the weights.
    """
    header, size = _read_header(path)
    end = max(
        (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
        default=0,
    )
    if end > size:
        raise TruncatedCheckpointError(
            f"{path} is truncated: it should hold {end:,} bytes of weights and holds {size:,}."
        )
    text = header.get("__metadata__", {}).get(_METADATA_KEY)
    if text is None:
        raise NotACheckpointError(
            f"{path} is a safetensors file without Petalscope's metadata, so its classes are "
            "unknown; bare weights can start a training (--weights) but cannot be served."
        )
    try:
        values = json.loads(text)
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointVersionError(
                f"{path} is of checkpoint format {version}; this program reads {FORMAT_VERSION}."
            )
        metadata = Metadata.from_dict(values)
    except (KeyError, TypeError, ValueError) as error:
        raise NotACheckpointError(f"The metadata in {path} are damaged: {error!r}.") from error
    logits, classes = metadata.architecture.num_classes, len(metadata.classes)
    if logits != classes:
        raise MismatchedClassesError(f"{path} names {classes} classes for {logits} logits.")
    if not metadata.temperature > 0:
        raise NotACheckpointError(f"The temperature in {path} is not above 0.")
    return metadata


def load_checkpoint(path: Path) -> tuple[nn.Module, Metadata]:
    """Rebuild a checkpoint's network on the CPU, in float32 and evaluation mode.

    Raises:
        CheckpointError: In its subclasses, for each way a file can be wrong.
    """
    metadata = read_metadata(path)
    try:
        network = build_network(metadata.architecture)
    except UnknownBackboneError as error:
        raise UnknownArchitectureError(f"{path} cannot be rebuilt: {error}") from error
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in safetensors.torch.load_file(path).items()
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise MismatchedWeightsError(
            f"The weights in {path} are not those of {metadata.architecture.backbone} "
            f"with its head: {_first_difference(network, weights)}."
        ) from error
    return network.eval(), metadata


def _stored(tensor: torch.Tensor, half_precision: bool) -> torch.Tensor:
    if half_precision and tensor.is_floating_point() and tensor.dim() > 1:
        tensor = tensor.half()
    # A clone, since safetensors refuses tensors that share memory, as tied weights do.
    return tensor.detach().cpu().contiguous().clone()


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the parsed header and the number of bytes behind it."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _LARGEST_HEADER:
                raise NotACheckpointError(f"{path} is not a safetensors file.")
            text = file.read(length)
    except FileNotFoundError:
        raise CheckpointNotFoundError(f"There is no checkpoint at {path}.") from None
    except OSError as error:
        raise CheckpointNotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) < length and text.startswith(b"{"):
        raise TruncatedCheckpointError(f"{path} is truncated: it ends inside its header.")
    try:
        header = json.loads(text)
        if not isinstance(header, dict):
            raise TypeError
        for name, entry in header.items():
            if name != "__metadata__":
                _, _ = entry["data_offsets"]
    except (ValueError, TypeError, KeyError):
        raise NotACheckpointError(f"{path} is not a safetensors file.") from None
    return header, size - 8 - length


def _first_difference(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> str:
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in weights:
            return f"{name} is missing"
        if weights[name].shape != tensor.shape:
            return f"{name} has shape {_shape(weights[name])}, not {_shape(tensor)}"
    return f"{next(iter(weights.keys() - expected.keys()))} is not among them"


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(str(length) for length in tensor.shape)
