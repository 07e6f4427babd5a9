"""Pydantic models of the JSON responses: they serialize each response and generate its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from app.catalog.files import Colour, PlantPart, Rank, ToxicityLevel
from app.http.json_body import JsonBody
from model.ood import Verdict

MAX_COMBINED_PHOTOS: Final = 5  # of one plant

_T = TypeVar("_T")


def _is_none(value: object) -> bool:
    return value is None


def _drop_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


# A key that is absent from the response, instead of null, if the value is None.
_Optional = Annotated[
    _T | SkipJsonSchema[None], Field(exclude_if=_is_none, json_schema_extra=_drop_default)
]
# An integer stays one, as in {"n": 818, "top1": 0.98}.
_Number = Annotated[int | float, WithJsonSchema({"type": "number"})]
_Probability = Annotated[float, Field(ge=0, le=1)]
_PngDataUrl = Annotated[str, Field(pattern="^data:image/png;base64,")]

_ClassId = Annotated[
    str, Field(description="Class ID: name of the class's folder in the data set.")
]
_Name = Annotated[str, Field(description="Common name in the data set; stays stable.")]
_DisplayName = Annotated[
    str,
    Field(
        description="Common name for display: in English for the flowers of the catalog, else as "
        "in the data set."
    ),
]
_TranslatedName = Annotated[
    str | None,
    Field(description="Common name; null if no name is certain, then use the English name."),
]
_OtherNames = Annotated[tuple[str, ...], Field(description="Other common names.")]
_Note = Annotated[str, Field(description="Explanation of a misleading name; may be empty.")]
_Features = Annotated[
    str, Field(description="How the flower is recognized in a photo; may be empty.")
]
_ToxicityNote = Annotated[str, Field(description="Explanation of the toxicity; may be empty.")]
_SourceCodes = Annotated[
    tuple[str, ...], Field(description="Codes of the sources; `/flowers` resolves them.")
]
_ToxicityLevel = Annotated[
    ToxicityLevel,
    Field(
        description="`unknown`: no source rates the plant, which does not mean that it is "
        "harmless; `none_known`: sources list it as harmless; `mild`; `severe`."
    ),
]
_FlowerUrl = Annotated[str, Field(description="Path of the flower's page.")]
_RequestId = Annotated[str, Field(description="Request ID; use it to find the log entry.")]
_ModelVersion = Annotated[str, Field(description="First digits of the checkpoint file's SHA-256.")]
_CheckpointName = Annotated[str, Field(description="File name of the checkpoint.")]


class ServiceInfo(JsonBody):
    """Name, version and routes of the service."""

    name: str = Field(description="Name of the service.")
    version: str = Field(description="Version of the service.")
    links: Mapping[str, str] = Field(description="Path of each route, by route name.")


class TranslatedName(JsonBody):
    """Name of a flower in one language."""

    display_name: _TranslatedName


class Toxicity(JsonBody):
    """Toxicity of a plant, for people and pets apart."""

    people: _ToxicityLevel
    pets: _ToxicityLevel
    parts: tuple[PlantPart, ...] = Field(
        description="Poisonous parts; empty if the sources name none."
    )
    sources: _SourceCodes


_OptionalToxicity = Annotated[
    Toxicity | None,
    Field(
        description="Never decide from it what is safe to eat or touch. Null if the class is not "
        "in the catalog."
    ),
]


class Picture(JsonBody):
    """A picture of a flower, for comparison with the photo."""

    url: str = Field(description="Path of the picture.")
    thumbnail_url: str = Field(description="Path of a square cut from it, 128 pixels a side.")
    width: int = Field(ge=1, description="Width of the picture, in pixels.")
    height: int = Field(ge=1, description="Height of the picture, in pixels.")


class CreditedPicture(Picture):
    """A picture of a flower, with its credits."""

    title: str = Field(description="What the picture shows.")
    author: str = Field(description="Painter or photographer.")
    work: str = Field(description="Book or collection.")
    year: str = Field(description="Year of publication.")
    licence: str = Field(description="Licence, such as `CC BY 4.0` or `Public domain`.")
    source: str | None = Field(description="Address of the original; null if there is none.")


class Prediction(JsonBody):
    """One predicted class."""

    class_id: _ClassId
    name: _Name
    display_name: _DisplayName
    translations: Mapping[str, TranslatedName] = Field(
        description="Names in the other languages, by language code such as `de`. Contains every "
        "language, independent of Accept-Language. Empty if the class is not in the catalog."
    )
    probability: _Probability = Field(description="Probability of the class, from 0 to 1.")
    scientific_name: str | None = Field(description="Species or genus; null if neither is certain.")
    toxicity: _OptionalToxicity
    url: _FlowerUrl
    picture: Picture | None = Field(
        description="Picture of the flower; null if the service has none. `GET /flowers/{slug}` "
        "has its credits."
    )
    activation_map: _Optional[_PngDataUrl] = Field(
        default=None,
        description="Present with `explain=1`: a transparent PNG as a data URL, to lay over the "
        "upright photo. Green marks the areas that look like this flower; what the model does not "
        "see is darkened.",
    )


class Ood(JsonBody):
    """Out-of-distribution check of a photo."""

    score: float = Field(description="OOD score; higher is more like the flowers of the model.")
    threshold: float = Field(description="Lowest score of a known photo.")
    is_known: bool = Field(description="True if the score reaches the threshold.")


class PhotoResult(JsonBody):
    """Classification result of one photo."""

    predictions: tuple[Prediction, ...] = Field(
        min_length=1, description="Predictions, most probable first."
    )
    verdict: Verdict = Field(
        description="`unchecked` if the model has no OOD rule; `unknown` if the OOD score is below "
        "the threshold; `unsure` if the top probability is below the model's `known_probability`; "
        "otherwise `known`."
    )
    ood: Ood | None = Field(
        description="Out-of-distribution check; null if the model has no OOD rule."
    )


class Model(JsonBody):
    """The model that made a prediction."""

    architecture: str = Field(description="timm name of the backbone.")
    checkpoint: _CheckpointName
    version: _ModelVersion


class ClassificationResult(PhotoResult):
    """Classification result of a request: of its photo, or of all its photos combined."""

    model: Model
    request_id: _RequestId
    photos: _Optional[
        Annotated[tuple[PhotoResult, ...], Field(min_length=1, max_length=MAX_COMBINED_PHOTOS)]
    ] = Field(
        default=None,
        description="Present with `combine=1`: result of each photo, in the order of the request.",
    )


class Label(JsonBody):
    """One class of the model."""

    class_id: _ClassId
    name: _Name


class Labels(JsonBody):
    """Classes of the model."""

    labels: tuple[Label, ...] = Field(description="Classes in the order of the model's logits.")


class TranslatedFlower(JsonBody):
    """Names of a flower and sentences about it, in one language."""

    display_name: _TranslatedName
    other_names: _OtherNames
    note: _Note
    features: _Features
    toxicity_note: _ToxicityNote


class Flower(JsonBody):
    """One class, with its catalog entry if there is one."""

    class_id: _ClassId
    name: _Name
    display_name: _DisplayName
    scientific_name: str | None = Field(
        description="Narrowest certain name: a genus if the common name or the photos cover "
        "several of its species; null if nothing is certain."
    )
    rank: Rank = Field(
        description="Rank of the scientific name; `uncertain` if the scientific name is null."
    )
    family: str | None = Field(
        description="Scientific name of the family; null if the class is not in the catalog."
    )
    synonyms: tuple[str, ...] = Field(description="Other scientific names.")
    colours: tuple[Colour, ...] = Field(
        description="Colours of the flowers in the data set's photos."
    )
    toxicity: _OptionalToxicity
    look_alikes: tuple[str, ...] = Field(
        description="Class IDs, or scientific names of plants that are not in the data set."
    )
    sources: _SourceCodes
    other_names: _OtherNames
    note: _Note
    features: _Features
    toxicity_note: _ToxicityNote
    translations: Mapping[str, TranslatedFlower] = Field(
        description="Names and sentences in the other languages, by language code such as `de`. "
        "Contains every language, independent of Accept-Language. Empty if the class is not in the "
        "catalog."
    )
    picture: CreditedPicture | None = Field(
        description="Picture of the flower; null if the service has none. Show its credits with it."
    )
    url: _FlowerUrl


class Source(JsonBody):
    """A source of facts."""

    title: str = Field(description="Publisher and work.")
    url: str | None = Field(description="Address of the page or the site; null if there is none.")


class Flowers(JsonBody):
    """Flowers that the model knows, or those that match a search."""

    flowers: tuple[Flower, ...] = Field(description="Flowers, sorted by `display_name`.")
    sources: Mapping[str, Source] = Field(
        description="Sources of the flowers' scientific names, families and toxicity, by code."
    )


class Architecture(JsonBody):
    """Architecture of the network."""

    backbone: str = Field(description="timm name of the backbone.")
    num_classes: int = Field(description="Number of classes and of logits.")
    hidden_layers: tuple[int, ...] = Field(
        description="Widths of the head's hidden layers; empty for one linear layer."
    )
    dropout: float = Field(description="Dropout probability in the head during training.")


class Transform(JsonBody):
    """Transform from a photo to the network's input."""

    resize: int = Field(description="Length of the shorter side after resizing, in pixels.")
    crop: int = Field(description="Side of the central square that the network sees, in pixels.")
    interpolation: str = Field(description="Resampling filter, such as `bicubic`.")
    mean: tuple[float, float, float] = Field(
        description="Mean to subtract from red, green and blue values in [0, 1]."
    )
    std: tuple[float, float, float] = Field(
        description="Standard deviation to divide red, green and blue by."
    )


class OodRule(JsonBody):
    """Thresholds of the model's verdict."""

    score: str = Field(description="Score function, such as `max_logit`.")
    threshold: float = Field(description="Photos with a lower score have the verdict `unknown`.")
    logit_adjustment: tuple[float, ...] = Field(
        description="Per-class values subtracted from the logits before scoring; empty for none."
    )
    known_probability: float = Field(
        description="Lowest probability of the first name for the verdict `known`, from 0 to 1; "
        "`unsure` below."
    )


class ModelMetadata(JsonBody):
    """Metadata of the checkpoint, and the device it runs on."""

    format_version: int = Field(description="Version of the checkpoint format.")
    architecture: Architecture
    classes: tuple[Label, ...] = Field(description="Classes in the order of the logits.")
    transform: Transform
    temperature: float = Field(description="Divisor of the logits before the softmax.")
    training: Mapping[str, Any] = Field(description="Training options.")
    metrics: Mapping[str, Mapping[str, _Number]] = Field(
        description="Metrics of each evaluation split; `n` is the number of photos."
    )
    versions: Mapping[str, str] = Field(description="Version of each library at training.")
    revision: str = Field(description="Source revision at training.")
    created: str = Field(description="Time of writing, ISO 8601 in UTC.")
    ood_rule: OodRule | None = Field(
        description="Out-of-distribution rule; null if none was fitted."
    )
    checkpoint: _CheckpointName
    version: _ModelVersion
    device: str = Field(description="Device that runs the model, such as `cpu` or `cuda:0`.")


class FeedbackReceipt(JsonBody):
    """Stored feedback."""

    deletion_code: str = Field(
        pattern="^[0-9a-f]{20}$",
        description="Secret that deletes the feedback: `DELETE /feedback/{code}`. Sending the same "
        "feedback again returns the same code.",
    )
    has_photo: bool = Field(description="True if a photo is stored with the feedback.")


class Status(JsonBody):
    """State of the service."""

    status: Literal["alive", "ready"] = Field(
        description="`alive` from /healthz, `ready` from /readyz."
    )
