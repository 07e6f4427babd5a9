"""The flowers that the served model knows: a list that can be searched, and each at its address.

    GET /flowers?q=rose           -> flowers.html | {"flowers": […], "sources": {…}}
    GET /flowers/18-peruvian-lily -> flower.html  | {"class_id": "18", …}
    GET /flowers/18               -> 308 to it: the class id alone tells which

A page for browsers, and JSON for all that do not ask for a page, as errors are. The page is in the
language of its reader; the JSON is the same for all, with what is said in other languages inside.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from flask import Blueprint, Response, jsonify, redirect, request

from app.catalog.flowers import Flower, describe_classes, sources
from app.context import current_context
from app.http.api_version import api_url
from app.http.caching import cacheable
from app.http.content_negotiation import prefers_html
from app.http.problems import Code, Problem, quoted
from app.http.route_options import route_options
from app.web.external_links import gbif, wikipedia
from app.web.rendering import render_page
from app.web.translations import ENGLISH, current_language

flowers: Final = Blueprint("flowers", __name__)


@flowers.get("/flowers")
@route_options(allows_cors=True)
def index() -> Response:
    """List the flowers by name, or those that `q` finds."""
    query = request.args.get("q", "")
    language = current_language() if prefers_html() else ENGLISH
    known = _known(language)
    found = [flower for flower in known if flower.matches(query)]
    if not prefers_html():
        return _finished(jsonify(flowers=[_values(item) for item in found], sources=sources()))
    told = sources(language)
    return _finished(
        render_page("flowers.html", flowers=known, found=set(found), query=query, sources=told)
    )


@flowers.get("/flowers/<slug>")
@route_options(allows_cors=True)
def flower(slug: str) -> Any:
    """Show one flower; what stands behind its class id may be old or wrong."""
    item = _at(slug)
    if item.slug != slug:
        moved = redirect(api_url("flowers.flower", slug=item.slug), 308)
        moved.cache_control.no_cache = True  # another model may call the class by another name
        return moved
    if not prefers_html():
        return _finished(jsonify(_values(item)))
    language = current_language()
    return _finished(
        render_page(
            "flower.html",
            flower=item,
            words=item.words(language),
            links=_links(item),
            sources=sources(language),
        )
    )


def _known(language: str = ENGLISH) -> list[Flower]:
    return describe_classes(current_context().classifier.metadata.classes, language)


def _at(slug: str) -> Flower:
    """Find a flower by its slug, or by the class id that the slug begins with.

    Raises:
        Problem: 404.
    """
    # The longest first, since one class id may begin as another does: "rose", "rose-red".
    for item in sorted(_known(), key=lambda item: len(item.class_id), reverse=True):
        if slug == item.class_id or slug.startswith(f"{item.class_id}-"):
            return item
    raise Problem(
        Code.NOT_FOUND,
        f"There is no flower at {quoted(request.path)}; /flowers lists them all.",
    )


def _values(item: Flower) -> dict[str, Any]:
    return {**asdict(item), "url": api_url("flowers.flower", slug=item.slug)}


def _links(item: Flower) -> dict[str, str]:
    links = {"Wikipedia": wikipedia(item.scientific_name, item.name)}
    if taxon := item.scientific_name or item.family:
        links["GBIF"] = gbif(taxon)
    return links


def _finished(response: Response) -> Response:
    return cacheable(response, vary="Accept")
