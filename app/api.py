"""The JSON routes: /predict, /model, /labels.

POST /predict?top_k=5&explain=1 with a photo
    -> {"predictions": […], "verdict": "known", …, "model": {…}, "request_id": "…"}
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, request, url_for

from app.classification import DEFAULT_TOP_K, classify_upload
from app.explanation import explain_predictions
from app.pictures import data_url
from app.problems import Problem, quoted
from app.request_log import request_id
from app.service import current_service
from model.flowers import describe_class
from model.labels import FlowerClass

if TYPE_CHECKING:
    from model.classifier import Answer

api: Final = Blueprint("api", __name__)

_NUMBER: Final = re.compile(r"[0-9]{1,6}")


@api.post("/predict")
def predict() -> dict[str, Any]:
    """Name the flower in the photo that the request carries."""
    classes = len(current_service().classifier.metadata.classes)
    top_k, explain = _top_k(classes), _explain()
    classification = classify_upload(top_k)
    answer = {**asdict(classification.answer), "predictions": described(classification.answer)}
    if explain:
        pictures = explain_predictions(classification)
        for prediction, picture in zip(answer["predictions"], pictures, strict=True):
            prediction["activation_map"] = data_url(picture, "PNG")
    return {**answer, "model": current_service().model, "request_id": request_id()}


def described(answer: Answer) -> list[dict[str, Any]]:
    """Return the predictions of an answer, each with what is known of its flower."""
    predictions = []
    for item in answer.predictions:
        flower = describe_class(FlowerClass(item.class_id, item.name))
        predictions.append(
            {
                **asdict(item),
                "scientific_name": flower.scientific_name,
                "flower": url_for("flowers.flower", slug=flower.slug),
            }
        )
    return predictions


@api.get("/model")
def model() -> dict[str, Any]:
    """Tell all that the checkpoint says about itself, and where it runs."""
    service = current_service()
    return {
        **service.classifier.metadata.to_dict(),
        "checkpoint": service.model["checkpoint"],
        "version": service.classifier.version,
        "device": service.classifier.network.device,
    }


@api.get("/labels")
def labels() -> dict[str, Any]:
    """List the classes in index order: the order of the model's logits."""
    return {"labels": [asdict(item) for item in current_service().classifier.metadata.classes]}


def _explain() -> bool:
    values = request.args.getlist("explain") or ["0"]
    if len(values) > 1 or values[0] not in ("0", "1"):
        got = quoted(values[0]) if len(values) == 1 else f"given {len(values)} times"
        raise Problem(422, f"The parameter explain is {got}; it must be 0 or 1.")
    return values[0] == "1"


def _top_k(classes: int) -> int:
    values = request.args.getlist("top_k")
    if not values:
        return min(DEFAULT_TOP_K, classes)
    text = values[0]
    if len(values) > 1 or not _NUMBER.fullmatch(text) or not 1 <= int(text) <= classes:
        got = quoted(text) if len(values) == 1 else f"given {len(values)} times"
        raise Problem(
            422, f"The parameter top_k is {got}; it must be one whole number from 1 to {classes}."
        )
    return int(text)
