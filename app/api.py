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
from flask import Blueprint, Response, jsonify, request, url_for

from app.accepting import wants_page
from app.caching import revalidated
from app.classification import DEFAULT_TOP_K, Classification, classify_uploads
from app.explanation import explain_predictions
from app.pictures import data_url
from app.problems import Code, Problem, quoted
from app.request_log import request_id
from app.service import current_service
from model import __version__
from model.flowers import describe_class
from model.labels import FlowerClass

if TYPE_CHECKING:
    from model.classifier import Answer

api: Final = Blueprint("api", __name__)

MOST_COMBINED: Final = 5  # photos of one plant
_NUMBER: Final = re.compile(r"[0-9]{1,6}")


@api.post("/predict")
def predict() -> Response:
    """Name the flower in the photo that the request carries, or in all its photos together."""
    answer = _predict()
    response = jsonify(answer)
    if wants_page():
        # A browser shows what a form has sent it as it came: in lines, for people.
        response.set_data(json.dumps(answer, indent=2, ensure_ascii=False))
    return response


def _predict() -> dict[str, Any]:
    service = current_service()
    top_k = _top_k(len(service.classifier.metadata.classes))
    explain, combine = _flag("explain"), _flag("combine")
    found = classify_uploads(top_k, most=MOST_COMBINED if combine else 1)
    answers = [_answer(classification, explain) for classification in found]
    about = {"model": service.model, "request_id": request_id()}
    if not combine:
        return {**answers[0], **about}
    # Of averaged logits: a photo's logits are its log-probabilities, but for a constant of its own.
    mean = np.mean([classification.logits for classification in found], axis=0)
    together = service.classifier.answer(mean, top_k)
    return {
        **vars(together),
        "predictions": described(together),
        "photos": answers,
        **about,
    }


def _answer(classification: Classification, explain: bool) -> dict[str, Any]:
    answer = {**vars(classification.answer), "predictions": described(classification.answer)}
    if explain:
        pictures = explain_predictions(classification)
        for prediction, picture in zip(answer["predictions"], pictures, strict=True):
            prediction["activation_map"] = data_url(picture, "PNG")
    return answer


def described(answer: Answer) -> list[dict[str, Any]]:
    """Return the predictions of an answer, each with what is known of its flower."""
    predictions = []
    for item in answer.predictions:
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
                "flower": url_for("flowers.flower", slug=flower.slug),
            }
        )
    return predictions


def about() -> Response:
    """Tell which service this is, and where its routes are."""
    links = {
        "predict": url_for("api.predict"),
        "labels": url_for("api.labels"),
        "model": url_for("api.model"),
        "flowers": url_for("flowers.index"),
        "openapi": url_for("openapi.document"),
        "docs": url_for("openapi.docs"),
        "health": url_for("health.healthz"),
        "ready": url_for("health.readyz"),
    }
    service = {"name": "Petalscope", "version": __version__, "links": links}
    return revalidated(jsonify(service), vary="Accept")


@api.get("/model")
def model() -> Response:
    """Tell all that the checkpoint says about itself, and where it runs."""
    service = current_service()
    about = {
        **service.classifier.metadata.to_dict(),
        "checkpoint": service.model["checkpoint"],
        "version": service.classifier.version,
        "device": service.classifier.network.device,
    }
    return revalidated(jsonify(about))


@api.get("/labels")
def labels() -> Response:
    """List the classes in index order: the order of the model's logits."""
    classes = current_service().classifier.metadata.classes
    return revalidated(jsonify(labels=[asdict(item) for item in classes]))


def _flag(name: str) -> bool:
    values = request.args.getlist(name) or ["0"]
    if len(values) > 1 or values[0] not in ("0", "1"):
        got = quoted(values[0]) if len(values) == 1 else f"given {len(values)} times"
        raise Problem(Code.BAD_PARAMETER, f"The parameter {name} is {got}; it must be 0 or 1.")
    return values[0] == "1"


def _top_k(classes: int) -> int:
    values = request.args.getlist("top_k")
    if not values:
        return min(DEFAULT_TOP_K, classes)
    text = values[0]
    if len(values) > 1 or not _NUMBER.fullmatch(text) or not 1 <= int(text) <= classes:
        got = quoted(text) if len(values) == 1 else f"given {len(values)} times"
        raise Problem(
            Code.BAD_PARAMETER,
            f"The parameter top_k is {got}; it must be one whole number from 1 to {classes}.",
        )
    return int(text)
