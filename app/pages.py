"""The page: a photo in by an ordinary form, the same page out with its names.

    GET /  -> index.html
    POST / -> index.html with the photo and five names, or with what was wrong and its status

The photo is shown back from memory, as a data URL, and forgotten with the answer.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flask import Blueprint, Response, make_response, render_template
from PIL import Image

from app.classification import DEFAULT_TOP_K, classify_upload
from app.problems import Problem
from app.service import current_service
from model.images import FORMAT_NAMES

if TYPE_CHECKING:
    from model.classifier import Prediction

pages: Final = Blueprint("pages", __name__)

_LONGEST_SIDE: Final = 800
_JPEG_QUALITY: Final = 85


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
    return _page(classification.predictions, _data_url(classification.photo))


def _page(
    predictions: list[Prediction] | None = None,
    photo: str | None = None,
    problem: Problem | None = None,
) -> Response:
    service = current_service()
    settings = service.settings
    response = make_response(
        render_template(
            "index.html",
            predictions=predictions,
            photo=photo,
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


def _data_url(photo: Image.Image) -> str:
    shown = photo.copy()
    shown.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
