"""The checkpoint: one safetensors file that rebuilds its model and says how it came about.

    training -> Checkpoint -> save_checkpoint -> FILE.safetensors -> load_checkpoint -> Classifier

The header of a safetensors file may hold a map of text to text; all metadata stands there as one
JSON object under the key "petalscope". `read_metadata` reads it without touching a weight. Nothing
is ever pickled: unpickling a file can run any code that its author liked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import nn

from model.atomic import replacing
from model.backbones import Architecture, BackboneError, build_network
from model.errors import PetalscopeError
from model.labels import FlowerClass
from model.transforms import EvaluationTransform

FORMAT_VERSION: Final = 1
_METADATA_KEY: Final = "petalscope"
_LARGEST_HEADER: Final = 100_000_000  # as the safetensors format limits it
# What reading JSON of any content can raise.
_DAMAGE: Final = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
)


class CheckpointError(PetalscopeError):
    """A checkpoint that cannot be used."""


class CheckpointNotFoundError(CheckpointError):
    """There is no such file, or it cannot be read."""


class NotACheckpointError(CheckpointError):
    """The file is not safetensors, or carries no whole metadata of this project."""


class TruncatedCheckpointError(CheckpointError):
    """The file ends before its last weight."""


class CheckpointVersionError(CheckpointError):
    """The file is of a format version that this program does not read."""


class UnknownArchitectureError(CheckpointError):
    """The file asks for a backbone or a head that cannot be built here."""


class MismatchedWeightsError(CheckpointError):
    """Names or shapes of the weights are not those of the architecture."""


class MismatchedClassesError(CheckpointError):
    """The list of classes and the number of logits disagree."""


class NotANumberError(CheckpointError):
    """A weight is infinite or not a number, as after a training that diverged."""


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
    text = _read_header(path)
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
    except _DAMAGE as error:
        raise NotACheckpointError(f"The metadata in {path} are damaged.") from error
    logits, classes = metadata.architecture.num_classes, len(metadata.classes)
    if logits != classes:
        raise MismatchedClassesError(f"{path} names {classes} classes for {logits} logits.")
    if not 0 < metadata.temperature < math.inf:
        raise NotACheckpointError(f"The temperature in {path} is not a number above 0.")
    return metadata


def load_checkpoint(path: Path) -> tuple[nn.Module, Metadata]:
    """Rebuild a checkpoint's network on the CPU, in float32 and evaluation mode.

    Raises:
        CheckpointError: In its subclasses, for each way a file can be wrong.
    """
    metadata = read_metadata(path)
    try:
        stored = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise NotACheckpointError(f"The weights in {path} are damaged.") from error
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in stored.items()
    }
    try:
        network = build_network(metadata.architecture)
    except BackboneError as error:
        raise UnknownArchitectureError(f"{path} cannot be rebuilt: {error}") from error
    except RuntimeError as error:
        # PyTorch has not the memory for widths that no one has trained.
        raise UnknownArchitectureError(
            f"{path} cannot be rebuilt: its layers are too large for this machine."
        ) from error
    if (difference := _first_difference(network.state_dict(), weights)) is not None:
        raise MismatchedWeightsError(
            f"The weights in {path} are not those of {metadata.architecture.backbone} "
            f"with its head: {difference}."
        )
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise NotANumberError(
                f"{name} in {path} holds values that are infinite or not numbers; "
                "the training that wrote it diverged, or the file is damaged."
            )
    network.load_state_dict(weights)
    return network.eval(), metadata


def _stored(tensor: torch.Tensor, half_precision: bool) -> torch.Tensor:
    if half_precision and tensor.is_floating_point() and tensor.dim() > 1:
        tensor = tensor.half()
    # A clone, since safetensors refuses tensors that share memory, as tied weights do.
    return tensor.detach().cpu().contiguous().clone()


def _read_header(path: Path) -> str | None:
    """Check the frame of a safetensors file; return its metadata's text, if it has any of ours."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _LARGEST_HEADER:
                raise NotACheckpointError(f"{path} is not a safetensors file.")
            content = file.read(length)
    except FileNotFoundError:
        raise CheckpointNotFoundError(f"There is no checkpoint at {path}.") from None
    except OSError as error:
        raise CheckpointNotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) < length and content[:1] in (b"", b"{"):
        raise TruncatedCheckpointError(f"{path} is truncated: it ends inside its header.")
    try:
        header = json.loads(content)
        text: str | None = header.pop("__metadata__", {}).get(_METADATA_KEY)
        expected = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except _DAMAGE:
        raise NotACheckpointError(f"{path} is not a safetensors file.") from None
    if (held := size - 8 - length) < expected:
        raise TruncatedCheckpointError(
            f"{path} is truncated: it should hold {expected:,} bytes of weights and holds {held:,}."
        )
    return text


def _first_difference(
    expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]
) -> str | None:
    for name, tensor in expected.items():
        if name not in weights:
            return f"{name} is missing"
        if weights[name].shape != tensor.shape:
            return f"{name} has shape {_shape(weights[name])}, not {_shape(tensor)}"
    extra = sorted(weights.keys() - expected.keys())
    return f"{extra[0]} is not among them" if extra else None


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(str(length) for length in tensor.shape)
