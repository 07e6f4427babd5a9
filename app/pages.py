"""The page: a photo in by an ordinary form, the same page out with its names.

    GET /  -> index.html
    POST / -> index.html with the photo and five names, or with what was wrong and its status

The photo is shown back from memory, as a data URL, and forgotten with the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flask import Blueprint, Response

from app.accepting import wants_json
from app.api import MOST_COMBINED, about, described
from app.classification import DEFAULT_TOP_K, classify_upload
from app.explanation import explain_predictions
from app.pictures import data_url
from app.problems import Problem
from app.rendering import limits, render_page, script_texts
from app.service import current_service

pages: Final = Blueprint("pages", __name__)

_LONGEST_SIDE: Final = 800


@pages.get("/")
def index() -> Response:
    """Show the upload form, or tell a program where the routes are."""
    if wants_json():
        return about()
    response = _page()
    response.vary.add("Accept")
    return response


@pages.post("/")
def classify() -> Response:
    """Show the photo that the form carries, with its names."""
    classes = len(current_service().classifier.metadata.classes)
    try:
        classification = classify_upload(min(DEFAULT_TOP_K, classes))
    except Problem as problem:
        return _page(problem=problem)
    predictions = described(classification.answer)
    if classification.activations is not None:
        pictures = explain_predictions(classification)
        for prediction, picture in zip(predictions, pictures, strict=True):
            prediction["activation_map"] = data_url(picture, "PNG")
    shown = classification.photo.copy()
    shown.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return _page(
        data_url(shown, "JPEG"), predictions=predictions, verdict=classification.answer.verdict
    )


def _page(
    photo: str | None = None,
    *,
    predictions: Sequence[dict[str, Any]] = (),
    verdict: str | None = None,
    problem: Problem | None = None,
) -> Response:
    service = current_service()
    return render_page(
        "index.html",
        problem=problem,
        photo=photo,
        predictions=predictions,
        verdict=verdict,
        explains=service.explains,
        class_count=len(service.classifier.metadata.classes),
        limits=limits(),
        most_joined=MOST_COMBINED,
        script_texts=script_texts(),
        model=service.model,
    )
