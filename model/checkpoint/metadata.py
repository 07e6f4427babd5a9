"""What a model's file says about itself, and the ways in which the file can be wrong.

Both kinds of file, safetensors and ONNX, carry it as one JSON object under the key "petalscope".
"""

from __future__ import annotations

import json
import math
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
# What reading JSON of any content can raise.
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
        ood_rule: By which a photo may be of none of the classes; None where none was fitted.
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
        """Return the metadata as the JSON that a file carries."""
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
    """Read metadata as `Metadata.to_text` wrote them into a file.

    Args:
        text: The JSON.
        path: The file, for messages.

    Raises:
        CheckpointError: In its subclasses, all but those that need the weights.
    """
    try:
        values = json.loads(text)
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointVersionError(
                f"{path} is of checkpoint format {version}; this program reads {FORMAT_VERSION}."
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
        raise MismatchedClassesError(f"{path} has a rule with logit_adjustment of other classes.")
    if not 0 < metadata.temperature < math.inf:
        raise NotACheckpointError(f"The temperature in {path} is not a number above 0.")
    return metadata
