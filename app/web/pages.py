"""Routes of the start page and of the API documentation.

Without JavaScript, the start page's form sends the photo to `POST /`. The response embeds the photo
as a data URL; the service never stores it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Final

from flask import Blueprint, Response, request

from app.catalog.flowers import catalog_sources, describe_classes
from app.context import current_context
from app.http.caching import cacheable
from app.http.content_negotiation import prefers_json
from app.http.data_urls import data_url
from app.http.problems import Problem
from app.http.request_id import request_id
from app.http.route_options import route_options
from app.http.uploads import PHOTO_FIELD
from app.inference.pipeline import DEFAULT_TOP_K, ClassifyOptions, classify_upload
from app.schemas.openapi import describe_api
from app.schemas.responses import MAX_COMBINED_PHOTOS, Prediction
from app.schemas.serialization import picture_of, serialize_predictions, serialize_service
from app.web.rendering import limits, render_page, script_texts
from app.web.translations import ENGLISH, current_language

pages: Final = Blueprint("pages", __name__)


@pages.get("/")
def index() -> Response:
    """Render the upload form; return a list of routes to clients that prefer JSON."""
    if prefers_json():
        return cacheable(serialize_service().to_response(), vary="Accept")
    response = _page()
    response.vary.add("Accept")
    return response


@pages.post("/")
@route_options(takes_photos=True)
def classify() -> Response:
    """Classify the uploaded photo and render it with the result."""
    service = current_context()
    classes = len(service.classifier.metadata.classes)
    options = ClassifyOptions(min(DEFAULT_TOP_K, classes), explain=service.explains)
    try:
        classification = classify_upload(options)
    except Problem as problem:
        return _page(problem=problem)
    predictions = serialize_predictions(classification.result, classification.activation_maps)
    return _page(
        data_url(classification.preview, "JPEG"),
        predictions=predictions,
        verdict=classification.result.verdict,
    )


@pages.get("/about")
def about() -> Response:
    """Render the sources of the catalog and the credits of the pictures."""
    service, language = current_context(), current_language()
    flowers = describe_classes(service.classifier.metadata.classes, language)
    found = [(flower, picture_of(flower)) for flower in flowers]
    page = render_page(
        "about.html",
        class_count=len(flowers),
        sources=catalog_sources() if any(flower.in_catalog for flower in flowers) else (),
        pictures=[(flower, picture) for flower, picture in found if picture],
    )
    return cacheable(page)


@pages.get("/docs")
def docs() -> Response:
    """Render the API documentation, with a form for sending a photo."""
    page = render_page(
        "docs.html",
        language=ENGLISH,
        api=describe_api(current_context(), request.script_root),
        field=PHOTO_FIELD,
        # Jinja's tojson filter sorts the keys.
        as_json=partial(json.dumps, indent=2, ensure_ascii=False),
    )
    return cacheable(page)


def _page(
    photo: str | None = None,
    *,
    predictions: Sequence[Prediction] = (),
    verdict: str | None = None,
    problem: Problem | None = None,
) -> Response:
    service = current_context()
    return render_page(
        "index.html",
        problem=problem,
        photo=photo,
        predictions=predictions,
        verdict=verdict,
        flowers=describe_classes(service.classifier.metadata.classes, current_language()),
        request_id=request_id(),
        explains=service.explains,
        class_count=len(service.classifier.metadata.classes),
        top_k=DEFAULT_TOP_K,
        limits=limits(),
        max_combined=min(MAX_COMBINED_PHOTOS, service.settings.max_in_flight),
        script_texts=script_texts(),
        model=service.model,
    )
