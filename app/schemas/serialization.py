"""Results and the service itself as JSON-ready values, shared by the API and the pages."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from flask import Response, jsonify, url_for

from app.catalog.flowers import describe_class
from app.http.api_version import api_url
from app.http.caching import cacheable
from model import __version__
from model.checkpoint.labels import FlowerClass

if TYPE_CHECKING:
    from model.classifier import ClassificationResult

MAX_COMBINED_PHOTOS: Final = 5  # of one plant


def serialize_result(result: ClassificationResult) -> dict[str, Any]:
    """Return a result as the JSON object of the API."""
    return {
        "predictions": serialize_predictions(result),
        "verdict": result.verdict,
        "ood": result.ood and asdict(result.ood),
    }


def serialize_predictions(result: ClassificationResult) -> list[dict[str, Any]]:
    """Return the predictions of a result with the names and the URL of each flower."""
    predictions = []
    for item in result.predictions:
        flower = describe_class(FlowerClass(item.class_id, item.name))
        predictions.append(
            {
                **vars(item),
                "display_name": flower.display_name,
                "translations": {
                    language: {"display_name": words.display_name}
                    for language, words in flower.translations.items()
                },
                "scientific_name": flower.scientific_name,
                "url": api_url("flowers.flower", slug=flower.slug),
            }
        )
    return predictions


def about() -> Response:
    """Tell which service this is, and where its routes are."""
    links = {
        "predict": api_url("api.predict"),
        "labels": api_url("api.labels"),
        "model": api_url("api.model"),
        "flowers": api_url("flowers.index"),
        "openapi": api_url("api.openapi"),
        "docs": url_for("api_docs.index"),
        "health": api_url("health.healthz"),
        "ready": api_url("health.readyz"),
    }
    service = {"name": "Petalscope", "version": __version__, "links": links}
    return cacheable(jsonify(service), vary="Accept")
