"""JSON routes: /predict, /model, /labels, /openapi.json."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from flask import Blueprint, Response, jsonify, request

from app.api.parameters import PredictParameters, check_query, read_parameters
from app.context import current_context
from app.http.caching import cacheable
from app.http.content_negotiation import prefers_html
from app.http.request_id import request_id
from app.http.route_options import route_options
from app.inference.pipeline import DEFAULT_TOP_K, ClassifyOptions, classify_uploads
from app.schemas.openapi import describe_api
from app.schemas.responses import MAX_COMBINED_PHOTOS, ClassificationResult, Labels, PhotoResult
from app.schemas.serialization import (
    serialize_labels,
    serialize_metadata,
    serialize_model,
    serialize_result,
)

api: Final = Blueprint("api", __name__)


@api.post("/predict")
@route_options(allows_cors=True, takes_photos=True)
def predict() -> Response:
    """Classify the photo of the request, or combine several photos of one plant."""
    # Indented for a browser, which shows the JSON response to a form as text.
    return _classify().to_response(indent=2 if prefers_html() else None)


def _classify() -> ClassificationResult:
    service = current_context()
    class_count = len(service.classifier.metadata.classes)
    check_query(class_count)

    @cache
    def parameters() -> PredictParameters:
        return read_parameters(class_count, min(DEFAULT_TOP_K, class_count))

    def options() -> ClassifyOptions:
        max_photos = MAX_COMBINED_PHOTOS if parameters().combine else 1
        return ClassifyOptions(parameters().top_k, parameters().explain, max_photos=max_photos)

    classifications = classify_uploads(options)
    photos = tuple(serialize_result(item.result, item.activation_maps) for item in classifications)
    if not parameters().combine:
        return _with_model(photos[0])
    logits = np.stack([item.logits for item in classifications])
    combined = service.classifier.combined_result(logits, parameters().top_k)
    return _with_model(serialize_result(combined), photos)


def _with_model(
    result: PhotoResult, photos: tuple[PhotoResult, ...] | None = None
) -> ClassificationResult:
    return ClassificationResult(
        predictions=result.predictions,
        verdict=result.verdict,
        ood=result.ood,
        model=serialize_model(current_context()),
        request_id=request_id(),
        photos=photos,
    )


@api.get("/model")
@route_options(allows_cors=True)
def model() -> Response:
    """Return the checkpoint's metadata and the device it runs on."""
    return cacheable(serialize_metadata(current_context()).to_response())


@api.get("/labels")
@route_options(allows_cors=True)
def labels() -> Response:
    """Return the classes in the order of the model's logits."""
    classes = current_context().classifier.metadata.classes
    return cacheable(Labels(labels=serialize_labels(classes)).to_response())


@api.get("/openapi.json")
@route_options(allows_cors=True)
def openapi() -> Response:
    """Return the OpenAPI document."""
    return cacheable(jsonify(describe_api(current_context(), request.script_root)))
