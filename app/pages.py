"""The page: a photo in by an ordinary form, the same page out with its names.

    GET /  -> index.html
    POST / -> index.html with the photo and five names, or with what was wrong and its status

The photo is shown back from memory, as a data URL, and forgotten with the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flask import Blueprint, Response, make_response, render_template

from app.classification import DEFAULT_TOP_K, classify_upload
from app.explanation import explain_predictions
from app.pictures import data_url
from app.problems import Problem
from app.service import current_service
from model.activation_map import laid_over
from model.images import FORMAT_NAMES

if TYPE_CHECKING:
    from model.classifier import Answer

pages: Final = Blueprint("pages", __name__)

_LONGEST_SIDE: Final = 800


@dataclass(frozen=True)
class PageLimits:
    """What the page tells about the photos it takes."""

    max_body_mib: int
    max_megapixels: int
    formats: str


@pages.get("/")
def index() -> Response:
    """Show the upload form."""
    return _page()


@pages.post("/")
def classify() -> Response:
    """Show the photo that the form carries, with its names."""
    classes = len(current_service().classifier.metadata.classes)
    try:
        classification = classify_upload(min(DEFAULT_TOP_K, classes))
    except Problem as problem:
        return _page(problem=problem)
    shown = classification.photo.copy()
    shown.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    explained = None
    if classification.activations is not None:
        best = next(explain_predictions(classification))
        explained = data_url(laid_over(shown, best), "JPEG")
    return _page(classification.answer, data_url(shown, "JPEG"), explained)


def _page(
    answer: Answer | None = None,
    photo: str | None = None,
    explained: str | None = None,
    problem: Problem | None = None,
) -> Response:
    service = current_service()
    settings = service.settings
    response = make_response(
        render_template(
            "index.html",
            answer=answer,
            photo=photo,
            explained=explained,
            explains=service.explains,
            problem=problem,
            class_count=len(service.classifier.metadata.classes),
            limits=PageLimits(settings.max_body_mib, settings.max_megapixels, FORMAT_NAMES),
            model=service.model,
        )
    )
    if problem is not None:
        response.status_code = problem.status
        response.headers.update(problem.headers)
    return response
