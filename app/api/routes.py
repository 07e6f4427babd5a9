"""JSON routes: /predict, /model, /labels, /openapi.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from typing import Any, Final

import numpy as np
from flask import Blueprint, Response, jsonify, request

from app.api.parameters import PredictParameters, check_query, read_parameters
from app.context import current_context
from app.http.caching import cacheable
from app.http.content_negotiation import prefers_html
from app.http.data_urls import data_url
from app.http.request_id import request_id
from app.http.route_options import route_options
from app.inference.activation_overlays import explain_predictions
from app.inference.pipeline import DEFAULT_TOP_K, Classification, classify_uploads
from app.schemas.openapi import describe_api
from app.schemas.serialization import MAX_COMBINED_PHOTOS, serialize_result

api: Final = Blueprint("api", __name__)


@api.post("/predict")
@route_options(allows_cors=True, takes_photos=True)
def predict() -> Response:
    """Classify the photo of the request, or combine several photos of one plant."""
    answer = _predict()
    response = jsonify(answer)
    if prefers_html():
        # A browser shows the JSON of a submitted form as it is.
        response.set_data(json.dumps(answer, indent=2, ensure_ascii=False))
    return response


def _predict() -> dict[str, Any]:
    service = current_context()
    class_count = len(service.classifier.metadata.classes)
    check_query(class_count)

    @cache
    def parameters() -> PredictParameters:
        return read_parameters(class_count, min(DEFAULT_TOP_K, class_count))

    classifications = classify_uploads(
        top_k=lambda: parameters().top_k,
        most=lambda: MAX_COMBINED_PHOTOS if parameters().combine else 1,
    )
    answers = [_answer(item, parameters().explain) for item in classifications]
    about = {"model": service.model, "request_id": request_id()}
    if not parameters().combine:
        return {**answers[0], **about}
    # Mean logits are mean log-probabilities up to a constant per photo.
    mean = np.mean([item.logits for item in classifications], axis=0)
    combined = service.classifier.result(mean, parameters().top_k)
    return {**serialize_result(combined), "photos": answers, **about}


def _answer(classification: Classification, explain: bool) -> dict[str, Any]:
    answer = serialize_result(classification.result)
    if explain:
        overlays = explain_predictions(classification)
        for prediction, overlay in zip(answer["predictions"], overlays, strict=True):
            prediction["activation_map"] = data_url(overlay, "PNG")
    return answer


@api.get("/model")
@route_options(allows_cors=True)
def model() -> Response:
    """Return the checkpoint's metadata and the device it runs on."""
    service = current_context()
    about = {
        **service.classifier.metadata.to_dict(),
        "checkpoint": service.model["checkpoint"],
        "version": service.classifier.version,
        "device": service.classifier.network.device,
    }
    return cacheable(jsonify(about))


@api.get("/labels")
@route_options(allows_cors=True)
def labels() -> Response:
    """Return the classes in the order of the model's logits."""
    classes = current_context().classifier.metadata.classes
    return cacheable(jsonify(labels=[asdict(item) for item in classes]))


@api.get("/openapi.json")
@route_options(allows_cors=True)
def openapi() -> Response:
    """Return the OpenAPI document."""
    return cacheable(jsonify(describe_api(current_context(), request.script_root)))
