"""Conversion of results, flowers and metadata to the response models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from flask import g, url_for

from app.catalog.files import Toxicity
from app.catalog.flowers import Flower, describe_class, sources_of
from app.catalog.pictures import StoredPicture
from app.context import AppContext, current_context
from app.http.api_version import api_url
from app.schemas import responses
from model import __version__
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import FORMAT_VERSION

if TYPE_CHECKING:
    from model.classifier import ClassificationResult, OodResult
    from model.ood import OodRule

# Characters that url_for keeps in a path.
_UNQUOTED: Final = "!$&'()*+,/:;=@"


def serialize_result(
    result: ClassificationResult, activation_maps: Sequence[str] | None = None
) -> responses.PhotoResult:
    """Convert the result of one photo; see `serialize_predictions` for `activation_maps`."""
    return responses.PhotoResult(
        predictions=serialize_predictions(result, activation_maps),
        verdict=result.verdict,
        ood=None if result.ood is None else _ood(result.ood),
    )


def _ood(result: OodResult) -> responses.Ood:
    return responses.Ood(score=result.score, threshold=result.threshold, is_known=result.is_known)


def serialize_predictions(
    result: ClassificationResult, activation_maps: Sequence[str] | None = None
) -> tuple[responses.Prediction, ...]:
    """Convert the predictions of a result.

    Args:
        result: The result.
        activation_maps: Data URL of each prediction's activation map; None to leave them out.
    """
    maps = activation_maps or repeat(None, len(result.predictions))
    return tuple(
        serialize_prediction(item, item.probability, activation_map)
        for item, activation_map in zip(result.predictions, maps, strict=True)
    )


def serialize_prediction(
    item: FlowerClass, probability: float, activation_map: str | None = None
) -> responses.Prediction:
    """Convert one prediction.

    Args:
        item: The class.
        probability: Its probability, from 0 to 1.
        activation_map: Data URL of its activation map; None to leave it out.
    """
    flower = describe_class(item)
    picture = picture_of(flower)
    return responses.Prediction(
        **_class_fields(flower),
        probability=probability,
        url=_flower_url(flower),
        picture=None if picture is None else responses.Picture(**_picture(picture)),
        activation_map=activation_map,
    )


@cache
def _class_fields(flower: Flower) -> dict[str, Any]:
    """Return the fields of a prediction that are the same in each response."""
    return {
        "class_id": flower.class_id,
        "name": flower.name,
        "display_name": flower.display_name,
        "translations": {
            language: responses.TranslatedName(display_name=names.display_name)
            for language, names in flower.translations.items()
        },
        "scientific_name": flower.scientific_name,
        "toxicity": _toxicity(flower.toxicity),
    }


def serialize_flower(flower: Flower) -> responses.Flower:
    """Convert a catalog entry."""
    picture = picture_of(flower)
    return responses.Flower(
        class_id=flower.class_id,
        name=flower.name,
        display_name=flower.display_name,
        scientific_name=flower.scientific_name,
        rank=flower.rank,
        family=flower.family,
        synonyms=flower.synonyms,
        colours=flower.colours,
        toxicity=_toxicity(flower.toxicity),
        look_alikes=flower.look_alikes,
        sources=flower.sources,
        other_names=flower.other_names,
        note=flower.note,
        features=flower.features,
        toxicity_note=flower.toxicity_note,
        translations={
            language: responses.TranslatedFlower(
                display_name=names.display_name,
                other_names=names.other_names,
                note=names.note,
                features=names.features,
                toxicity_note=names.toxicity_note,
            )
            for language, names in flower.translations.items()
        },
        picture=None if picture is None else _credited(picture),
        url=_flower_url(flower),
    )


def serialize_flowers(flowers: Sequence[Flower]) -> responses.Flowers:
    """Convert catalog entries, in the order given, with their sources."""
    return responses.Flowers(
        flowers=tuple(map(serialize_flower, flowers)),
        sources={
            code: responses.Source(title=source.title, url=source.url)
            for code, source in sources_of(flowers).items()
        },
    )


def picture_of(flower: Flower) -> StoredPicture | None:
    """Return the picture of a flower, or None."""
    return current_context().pictures.of(flower)


def picture_url(item: StoredPicture) -> str:
    """Return the address of a picture, which is never stale because it has the version."""
    return url_for("pictures.picture", file=item.picture.file, v=item.version)


def thumbnail_url(item: StoredPicture) -> str:
    """Return the address of a picture's thumbnail."""
    return url_for("pictures.thumbnail", file=item.picture.file, v=item.version)


def _picture(item: StoredPicture) -> dict[str, Any]:
    width, height = item.size
    return {
        "url": picture_url(item),
        "thumbnail_url": thumbnail_url(item),
        "width": width,
        "height": height,
    }


def _credited(item: StoredPicture) -> responses.CreditedPicture:
    picture = item.picture
    return responses.CreditedPicture(
        **_picture(item),
        title=picture.title,
        author=picture.author,
        work=picture.work,
        year=picture.year,
        licence=picture.licence,
        source=picture.source,
    )


def _toxicity(toxicity: Toxicity | None) -> responses.Toxicity | None:
    if toxicity is None:
        return None
    return responses.Toxicity(
        people=toxicity.people,
        pets=toxicity.pets,
        parts=toxicity.parts,
        sources=toxicity.sources,
    )


def serialize_labels(classes: Iterable[FlowerClass]) -> tuple[responses.Label, ...]:
    """Convert classes, in the order given."""
    return tuple(responses.Label(class_id=item.class_id, name=item.name) for item in classes)


def serialize_model(service: AppContext) -> responses.Model:
    """Describe the served model as part of a classification result."""
    return responses.Model(**service.model)


def serialize_metadata(service: AppContext) -> responses.ModelMetadata:
    """Convert the metadata of the served checkpoint."""
    metadata = service.classifier.metadata
    architecture, transform, rule = metadata.architecture, metadata.transform, metadata.ood_rule
    return responses.ModelMetadata(
        format_version=FORMAT_VERSION,
        architecture=responses.Architecture(
            backbone=architecture.backbone,
            num_classes=architecture.num_classes,
            hidden_layers=architecture.hidden_layers,
            dropout=architecture.dropout,
        ),
        classes=serialize_labels(metadata.classes),
        transform=responses.Transform(
            resize=transform.resize,
            crop=transform.crop,
            interpolation=transform.interpolation,
            mean=transform.mean,
            std=transform.std,
        ),
        temperature=metadata.temperature,
        training=metadata.training,
        metrics=metadata.metrics,
        versions=metadata.versions,
        revision=metadata.revision,
        created=metadata.created,
        ood_rule=None if rule is None else _ood_rule(rule),
        checkpoint=service.checkpoint.name,
        version=service.classifier.version,
        device=service.classifier.network.device,
    )


def _ood_rule(rule: OodRule) -> responses.OodRule:
    return responses.OodRule(
        score=rule.score,
        threshold=rule.threshold,
        logit_adjustment=rule.logit_adjustment,
        known_probability=rule.known_probability,
    )


def serialize_service() -> responses.ServiceInfo:
    """Describe the service and its routes."""
    links = {
        "predict": api_url("api.predict"),
        "labels": api_url("api.labels"),
        "model": api_url("api.model"),
        "flowers": api_url("flowers.index"),
        "openapi": api_url("api.openapi"),
        "docs": url_for("pages.docs"),
        "health": api_url("health.healthz"),
        "ready": api_url("health.readyz"),
    }
    if current_context().feedback is not None:
        links["feedback"] = api_url("feedback.submit")
    return responses.ServiceInfo(name="Petalscope", version=__version__, links=links)


def _flower_url(flower: Flower) -> str:
    # A call of url_for per request instead of one per flower.
    if "flowers_url" not in g:
        g.flowers_url = api_url("flowers.index")
    return f"{g.flowers_url}/{quote(flower.slug, safe=_UNQUOTED)}"
