"""Checkpoint metadata, and the errors of an unusable checkpoint.

Safetensors and ONNX files both store it as one JSON object under the key "petalscope".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from model.checkpoint.architecture import Architecture
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
    """A weight that is infinite or NaN, for example after diverged training."""


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

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata as JSON-ready values."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    def to_text(self) -> str:
        """Return the metadata as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metadata:
        """Rebuild the metadata from `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: Values are missing or wrong.
        """
        architecture = values["architecture"]
        rule = values["ood_rule"]
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
            ood_rule=None if rule is None else OodRule.from_dict(rule),
        )


def parse_metadata(text: str, path: Path) -> Metadata:
    """Parse and validate the output of `Metadata.to_text`.

    Args:
        text: The JSON.
        path: The file, for messages.

    Raises:
        CheckpointError: The metadata are invalid; the subclass names the cause.
    """
    try:
        values = json.loads(text)
        # Rejects NaN, infinity and lone surrogates anywhere: no JSON response could carry them.
        json.dumps(values, allow_nan=False, ensure_ascii=False).encode()
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointVersionError(
                f"{path} has checkpoint format {version}, but this version reads format "
                f"{FORMAT_VERSION}; train or export the model again with this version."
            )
        metadata = Metadata.from_dict(values)
    except JSON_DAMAGE as error:
        raise NotACheckpointError(f"The metadata in {path} are damaged.") from error
    logits, classes = metadata.architecture.num_classes, len(metadata.classes)
    if logits != classes:
        raise MismatchedClassesError(f"{path} names {classes} classes for {logits} logits.")
    if metadata.ood_rule is not None and len(metadata.ood_rule.logit_adjustment) not in (
        0,
        classes,
    ):
        raise MismatchedClassesError(
            f"{path} has a logit_adjustment whose length is not the number of classes."
        )
    if len({item.class_id for item in metadata.classes}) != classes:
        raise NotACheckpointError(f"{path} has two classes with the same class_id.")
    if not _MIN_TEMPERATURE <= metadata.temperature <= _MAX_TEMPERATURE:
        raise NotACheckpointError(
            f"The temperature in {path} must be from {_MIN_TEMPERATURE} to {_MAX_TEMPERATURE}."
        )
    return metadata
