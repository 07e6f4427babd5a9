"""Checkpoint metadata, and the errors of an unusable checkpoint.

Safetensors and ONNX files both store it as one JSON object under the key "petalscope".
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from model.checkpoint.labels import FlowerClass
from model.errors import PetalscopeError
from model.imaging.transforms import EvaluationTransform
from model.ood import OodRule

FORMAT_VERSION: Final = 2
METADATA_KEY: Final = "petalscope"
# Values far outside the range of calibrated networks, which lie between 0.5 and 5; an extreme
# temperature makes probabilities NaN.
_MIN_TEMPERATURE: Final = 0.01
_MAX_TEMPERATURE: Final = 100.0
_MAX_WIDTH: Final = 65_536
_MAX_LAYERS: Final = 8
_MAX_QUOTED: Final = 200  # characters of a value in a message
_REMEDY: Final = "write the file again with scripts/train.py or scripts/export.py."
# Exceptions that parsing arbitrary JSON can raise.
JSON_DAMAGE: Final = (
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
    """A checkpoint file that is missing or unreadable."""


class MissingPyTorchError(CheckpointError):
    """A checkpoint file that needs PyTorch, which is not installed."""


class NotACheckpointError(CheckpointError):
    """A file without valid Petalscope metadata."""


class TruncatedCheckpointError(CheckpointError):
    """A checkpoint file that ends before its last weight."""


class CheckpointVersionError(CheckpointError):
    """A checkpoint file of an unsupported format version."""


class UnknownArchitectureError(CheckpointError):
    """A checkpoint whose backbone or head cannot be built."""


class MismatchedWeightsError(CheckpointError):
    """Weights whose names or shapes do not match the architecture."""


class MismatchedClassesError(CheckpointError):
    """A class list whose length differs from the number of logits."""


class NotANumberError(CheckpointError):
    """A weight or a logit that is infinite or NaN, for example after diverged training."""


class MismatchedLogitsError(CheckpointError):
    """A network whose logits differ from the reference in its file."""


class InferenceFailedError(CheckpointError):
    """A network that fails on the reference image."""


def check_file(path: Path) -> None:
    """Check that a checkpoint is a file that can be read.

    Raises:
        CheckpointNotFoundError: It is missing, no regular file or unreadable.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise CheckpointNotFoundError(f"There is no checkpoint at {path}.") from None
    except OSError as error:
        raise CheckpointNotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    if stat.S_ISDIR(mode):
        raise CheckpointNotFoundError(
            f"{path} is a folder, not a checkpoint. Docker creates an empty folder if the file to "
            "mount does not exist."
        )
    if not stat.S_ISREG(mode):
        raise CheckpointNotFoundError(f"{path} is not a regular file.")
    if not os.access(path, os.R_OK):
        raise CheckpointNotFoundError(f"{path} cannot be read: permission denied.")


@dataclass(frozen=True)
class Architecture:
    """Arguments that rebuild a network without its weights.

    Attributes:
        backbone: timm model name, such as "densenet161".
        num_classes: Number of logits.
        hidden_layers: Widths of the head's hidden layers; empty for one linear layer.
        dropout: Dropout probability, in [0, 1), before each linear layer of the head except the
            first; before the only one if there are no hidden layers.
    """

    backbone: str
    num_classes: int
    hidden_layers: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A value is out of range.
        """
        if len(self.backbone) > _MAX_QUOTED:
            raise ValueError(f"backbone must be a name of at most {_MAX_QUOTED} characters")
        if len(self.hidden_layers) > _MAX_LAYERS:
            raise ValueError(f"hidden_layers must hold at most {_MAX_LAYERS} widths")
        if not all(1 <= width <= _MAX_WIDTH for width in (self.num_classes, *self.hidden_layers)):
            raise ValueError(f"num_classes and hidden_layers must be from 1 to {_MAX_WIDTH}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1")


@dataclass(frozen=True)
class Reference:
    """Logits of the reference image, computed by the program that wrote the file.

    Attributes:
        logits: One per class, not divided by the temperature.
        tolerance: Allowed difference of a logit at load, as a fraction of the logits' range.
    """

    logits: tuple[float, ...]
    tolerance: float

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A value is out of range.
        """
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance is {self.tolerance}; it must be above 0 and below 1")
        # An infinite range would allow every difference.
        if not math.isfinite(max(self.logits, default=0) - min(self.logits, default=0)):
            raise ValueError("logits must have a finite range")


@dataclass(frozen=True)
class Metadata:
    """Metadata of a checkpoint.

    Attributes:
        architecture: Arguments that rebuild the network.
        classes: Class ids and names in index order: logit i belongs to `classes[i]`.
        transform: The evaluation transform that the network expects.
        temperature: Divisor of the logits before the softmax.
        training: Training options.
        metrics: Metrics of each split by name; "n" is the number of photos.
        versions: Version of each library at training.
        revision: Source revision at training.
        created: Time of writing, ISO 8601 in UTC.
        ood_rule: Out-of-distribution rule; None if none was fitted.
        reference: Logits to check at load; None in files of earlier versions. Not compared, because
            each file has its own.
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
    ood_rule: OodRule | None = None
    reference: Reference | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check the temperature.

        Raises:
            ValueError: It is out of range.
        """
        if not _MIN_TEMPERATURE <= self.temperature <= _MAX_TEMPERATURE:
            raise ValueError(f"temperature must be from {_MIN_TEMPERATURE} to {_MAX_TEMPERATURE}")

    def to_text(self) -> str:
        """Return the metadata as the JSON text of a file."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, ensure_ascii=False)


_SCHEMA: Final = TypeAdapter(Metadata)
_REQUIRED: Final = tuple(item.name for item in fields(Metadata) if item.name != "reference")


def parse_metadata(text: str, path: Path) -> Metadata:
    """Parse and validate the output of `Metadata.to_text`.

    Args:
        text: The JSON text.
        path: The file, for messages.

    Raises:
        CheckpointError: The metadata are invalid; the subclass names the cause.
    """
    try:
        values = json.loads(text)
        # Reject NaN, infinity and lone surrogates anywhere: no JSON response can carry them.
        json.dumps(values, allow_nan=False, ensure_ascii=False).encode()
        version = values["format_version"]
    except JSON_DAMAGE as error:
        raise NotACheckpointError(
            f"The metadata in {path} are not valid JSON with a format_version; {_REMEDY}"
        ) from error
    if type(version) is not int or version != FORMAT_VERSION:
        raise CheckpointVersionError(
            f"{path} has checkpoint format {str(version)[:_MAX_QUOTED]}, but this version reads "
            f"format {FORMAT_VERSION}; train or export the model again with this version."
        )
    # The defaults are for new metadata: in a file, a missing temperature is damage.
    if missing := [name for name in _REQUIRED if name not in values]:
        raise NotACheckpointError(f"The metadata in {path} lack {missing[0]}; {_REMEDY}")
    try:
        metadata = _SCHEMA.validate_json(text, strict=True)
    except ValidationError as error:
        raise NotACheckpointError(
            f"The metadata in {path} are invalid: {_first_problem(error)}; {_REMEDY}"
        ) from error
    _check_classes(metadata, path)
    return metadata


def _check_classes(metadata: Metadata, path: Path) -> None:
    """Check that all parts have the same number of classes, with different ids."""
    logits, classes = metadata.architecture.num_classes, len(metadata.classes)
    if logits != classes:
        raise MismatchedClassesError(f"{path} names {classes} classes for {logits} logits.")
    rule, reference = metadata.ood_rule, metadata.reference
    if rule is not None and len(rule.logit_adjustment) not in (0, classes):
        raise MismatchedClassesError(
            f"{path} has a logit_adjustment of {len(rule.logit_adjustment)} values for {classes} "
            "classes."
        )
    if reference is not None and len(reference.logits) != classes:
        raise MismatchedClassesError(
            f"{path} has {len(reference.logits)} reference logits for {classes} classes."
        )
    if len({item.class_id for item in metadata.classes}) != classes:
        raise NotACheckpointError(f"{path} has two classes with the same class_id.")


def _first_problem(error: ValidationError) -> str:
    """Return the first problem on one line, such as "transform: crop is 5; …"."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    text = problem["msg"].removeprefix("Value error, ")
    line = ": ".join([*map(str, problem["loc"]), text])
    return " ".join(line.split())[:_MAX_QUOTED]
