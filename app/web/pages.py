"""Routes of the start page, the pages about the service and the API documentation.

Without JavaScript, the start page's form sends the photo to `POST /`. The response embeds the photo
as a data URL; the service never stores it. Apps share photos with `POST /share`, which the service
worker handles if it runs; see app/web/pwa.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, make_response, redirect, request, url_for

from app.catalog.flowers import catalog_sources, describe_classes
from app.context import current_context
from app.http.caching import cacheable
from app.http.content_negotiation import prefers_json
from app.http.data_urls import data_url
from app.http.problems import Code, Problem
from app.http.request_id import request_id
from app.http.route_options import route_options
from app.http.uploads import PHOTO_FIELD
from app.inference.pipeline import DEFAULT_TOP_K, ClassifyOptions, classify_upload
from app.schemas.openapi import describe_api
from app.schemas.responses import MAX_COMBINED_PHOTOS, Prediction
from app.schemas.serialization import picture_of, serialize_predictions, serialize_service
from app.web.rendering import limits, render_page, script_texts
from app.web.translations import ENGLISH, current_language
from model import BUNDLED_CHECKPOINT

pages: Final = Blueprint("pages", __name__)

_SHOWN_METRICS: Final = frozenset({"n", "top1", "top5"})
MAX_KEPT_PHOTOS: Final = 50  # on the visitor's device


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
    options = ClassifyOptions(min(DEFAULT_TOP_K, classes), explain=service.explains, preview=True)
    try:
        classification = classify_upload(options)
    except Problem as problem:
        return _page(problem=problem)
    assert classification.preview is not None  # noqa: S101 - requested
    predictions = serialize_predictions(classification.result, classification.activation_maps)
    return _page(
        data_url(classification.preview, "JPEG"),
        predictions=predictions,
        verdict=classification.result.verdict,
    )


@pages.post("/share")
@route_options(takes_photos=True)
def share() -> Response:
    """Classify a photo shared from another app, as the start page's form does."""
    return classify()


@pages.get("/share")
def shared() -> Any:
    """Redirect to the start page, for visitors who open the address of a shared photo again."""
    return redirect(url_for("pages.index"))


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


@pages.get("/about/model")
def model() -> Response:
    """Render what the model is and how accurate it is."""
    service = current_context()
    metadata = service.classifier.metadata
    page = render_page(
        "model.html",
        model=service.model,
        class_count=len(metadata.classes),
        side=metadata.transform.crop,
        rule=metadata.ood_rule,
        metrics=[
            (name, metrics)
            for name, metrics in metadata.metrics.items()
            if metrics.keys() >= _SHOWN_METRICS
        ],
        has_card=_model_card() is not None,
    )
    return cacheable(page)


@pages.get("/about/model/card")
def model_card() -> Response:
    """Return the model card, which is Markdown, as plain text.

    Raises:
        Problem: 404 if the served checkpoint has none.
    """
    card = _model_card()
    if card is None:
        raise Problem(Code.NOT_FOUND, "The served checkpoint has no model card.")
    response = make_response(card.read_text(encoding="utf-8"))
    response.content_type = "text/plain; charset=utf-8"
    response.content_language.add(ENGLISH)
    return cacheable(response)


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


def _model_card() -> Path | None:
    """Return the file of the bundled model's card; None for another model, or if it is missing."""
    folder = current_context().checkpoint.parent
    card = folder / "README.md"
    return card if folder == BUNDLED_CHECKPOINT.parent and card.is_file() else None


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
        max_kept=MAX_KEPT_PHOTOS,
        max_combined=min(MAX_COMBINED_PHOTOS, service.settings.max_in_flight),
        script_texts=script_texts(),
        model=service.model,
    )
