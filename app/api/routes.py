"""The JSON routes: /predict, /model, /labels.

POST /predict?top_k=5&explain=1 with a photo, or ?combine=1 with up to five of one plant
    -> {"predictions": […], "verdict": "known", …, "model": {…}, "request_id": "…"}
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from flask import Blueprint, Response, jsonify, request

from app.context import current_context
from app.http.caching import cacheable
from app.http.content_negotiation import prefers_html
from app.http.data_urls import data_url
from app.http.problems import Code, Problem, quoted
from app.http.request_id import request_id
from app.http.route_options import route_options
from app.inference.activation_overlays import explain_predictions
from app.inference.pipeline import DEFAULT_TOP_K, Classification, classify_uploads
from app.schemas.openapi import describe_api
from app.schemas.serialization import MAX_COMBINED_PHOTOS, serialize_result

if TYPE_CHECKING:
    pass

api: Final = Blueprint("api", __name__)

_NUMBER: Final = re.compile(r"[0-9]{1,6}")


@api.post("/predict")
@route_options(allows_cors=True, takes_photos=True)
def predict() -> Response:
    """Name the flower in the photo that the request carries, or in all its photos together."""
    answer = _predict()
    response = jsonify(answer)
    if prefers_html():
        # A browser shows what a form has sent it as it came: in lines, for people.
        response.set_data(json.dumps(answer, indent=2, ensure_ascii=False))
    return response


def _predict() -> dict[str, Any]:
    service = current_context()
    top_k = _top_k(len(service.classifier.metadata.classes))
    explain, combine = _flag("explain"), _flag("combine")
    found = classify_uploads(top_k, most=MAX_COMBINED_PHOTOS if combine else 1)
    answers = [_answer(classification, explain) for classification in found]
    about = {"model": service.model, "request_id": request_id()}
    if not combine:
        return {**answers[0], **about}
    # Of averaged logits: a photo's logits are its log-probabilities, but for a constant of its own.
    mean = np.mean([classification.logits for classification in found], axis=0)
    together = service.classifier.result(mean, top_k)
    return {
        **serialize_result(together),
        "photos": answers,
        **about,
    }


def _answer(classification: Classification, explain: bool) -> dict[str, Any]:
    answer = serialize_result(classification.result)
    if explain:
        pictures = explain_predictions(classification)
        for prediction, picture in zip(answer["predictions"], pictures, strict=True):
            prediction["activation_map"] = data_url(picture, "PNG")
    return answer


@api.get("/model")
@route_options(allows_cors=True)
def model() -> Response:
    """Tell all that the checkpoint says about itself, and where it runs."""
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
    """List the classes in index order: the order of the model's logits."""
    classes = current_context().classifier.metadata.classes
    return cacheable(jsonify(labels=[asdict(item) for item in classes]))


@api.get("/openapi.json")
@route_options(allows_cors=True)
def openapi() -> Response:
    """Describe the API as an OpenAPI document."""
    return cacheable(jsonify(describe_api(current_context(), request.script_root)))


def _flag(name: str) -> bool:
    values = request.args.getlist(name) or ["0"]
    if len(values) > 1 or values[0] not in ("0", "1"):
        got = quoted(values[0]) if len(values) == 1 else f"given {len(values)} times"
        raise Problem(Code.INVALID_PARAMETER, f"The parameter {name} is {got}; it must be 0 or 1.")
    return values[0] == "1"


def _top_k(classes: int) -> int:
    values = request.args.getlist("top_k")
    if not values:
        return min(DEFAULT_TOP_K, classes)
    text = values[0]
    if len(values) > 1 or not _NUMBER.fullmatch(text) or not 1 <= int(text) <= classes:
        got = quoted(text) if len(values) == 1 else f"given {len(values)} times"
        raise Problem(
            Code.INVALID_PARAMETER,
            f"The parameter top_k is {got}; it must be one whole number from 1 to {classes}.",
        )
    return int(text)
