"""Routes of the flower catalog: a searchable list and one page per class of the served model.

Browsers get HTML in their own language. Other clients get JSON, which contains all translations and
therefore does not depend on Accept-Language.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from flask import Blueprint, Response, redirect, request

from app.catalog.flowers import Flower, describe_classes, sources
from app.context import current_context
from app.http.api_version import api_url
from app.http.caching import cacheable
from app.http.content_negotiation import prefers_html
from app.http.problems import Code, Problem, quoted
from app.http.route_options import route_options
from app.schemas.responses import Flowers
from app.schemas.serialization import serialize_flower
from app.web.rendering import render_page
from app.web.translations import ENGLISH, current_language

flowers: Final = Blueprint("flowers", __name__)


@flowers.get("/flowers")
@route_options(allows_cors=True)
def index() -> Response:
    """List the flowers by name; `q` filters them."""
    query = request.args.get("q", "")
    language = current_language() if prefers_html() else ENGLISH
    all_flowers = _all_flowers(language)
    found = [flower for flower in all_flowers if flower.matches(query)]
    if not prefers_html():
        body = Flowers(
            flowers=tuple(map(serialize_flower, found)), sources=_sources(all_flowers, language)
        )
        return _cacheable(body.to_response())
    page = render_page(
        "flowers.html",
        flowers=all_flowers,
        found=set(found),
        query=query,
        sources=_sources(all_flowers, language),
    )
    return _cacheable(page)


@flowers.get("/flowers/<slug>")
@route_options(allows_cors=True)
def flower(slug: str) -> Any:
    """Show one flower; redirect to its canonical URL if the slug differs after the class ID."""
    item = _find(slug)
    if item.slug != slug:
        response = redirect(api_url("flowers.flower", slug=item.slug), 308)
        response.cache_control.no_cache = True  # another model may use another name
        return response
    if not prefers_html():
        return _cacheable(serialize_flower(item).to_response())
    language = current_language()
    return _cacheable(
        render_page(
            "flower.html",
            flower=item,
            common_names=item.common_names(language),
            sources=_sources([item], language),
        )
    )


def _all_flowers(language: str = ENGLISH) -> list[Flower]:
    return describe_classes(current_context().classifier.metadata.classes, language)


def _sources(shown: Iterable[Flower], language: str) -> dict[str, str]:
    """Return the sources of the catalog, if any of the flowers is from it."""
    return sources(language) if any(item.in_catalog for item in shown) else {}


def _find(slug: str) -> Flower:
    """Return the flower with a slug, or with the class ID that starts the slug, in any case.

    Raises:
        Problem: 404 if there is none.
    """
    wanted = _fold(slug)
    # Longest first, because one class ID may be a prefix of another: "rose", "rose-red".
    for item in sorted(_all_flowers(), key=lambda item: len(item.class_id), reverse=True):
        class_id = _fold(item.class_id)
        if wanted == class_id or wanted.startswith(f"{class_id}-"):
            return item
    raise Problem(
        Code.NOT_FOUND,
        f"There is no flower at {quoted(request.path)}; /flowers lists them all.",
    )


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower()


def _cacheable(response: Response) -> Response:
    return cacheable(response, vary="Accept")
