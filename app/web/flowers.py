"""Routes of the flower catalog: a searchable list and one page per class of the served model.

Browsers get HTML in their own language. Other clients get JSON, which contains all translations and
therefore does not depend on Accept-Language.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, get_args

from flask import Blueprint, Response, redirect, request

from app.catalog.files import Colour
from app.catalog.flowers import (
    WITHOUT_LETTERS,
    Flower,
    describe_classes,
    families,
    look_alikes,
    sources_of,
)
from app.catalog.search import normalize, search
from app.context import current_context
from app.http.api_version import api_url
from app.http.caching import cacheable
from app.http.content_negotiation import prefers_html
from app.http.problems import Code, Problem, quoted
from app.http.route_options import route_options
from app.schemas.serialization import picture_of, serialize_flower, serialize_flowers
from app.web.rendering import render_page
from app.web.translations import ENGLISH, current_language, text

flowers: Final = Blueprint("flowers", __name__)

_COLOURS: Final = get_args(Colour)
_MAX_UNGROUPED: Final = 20  # flowers


@dataclass(frozen=True)
class Filters:
    """The parameters of the list.

    Attributes:
        query: Search terms; empty for all flowers.
        family: Scientific name of a family; empty for all.
        colour: One of `Colour`; empty for all.
    """

    query: str
    family: str
    colour: str

    @classmethod
    def from_request(cls) -> Filters:
        """Read the query string.

        Raises:
            Problem: 422 if there is no such family or colour.
        """
        served = families(current_context().classifier.metadata.classes)
        return cls(
            request.args.get("q", ""), _choice("family", served), _choice("colour", _COLOURS)
        )

    def __bool__(self) -> bool:
        """True if the list does not show all flowers."""
        return bool(self.query or self.family or self.colour)

    def apply(self, items: Sequence[Flower]) -> list[Flower]:
        """Return the flowers that match, in their order."""
        return [
            item
            for item in search(items, self.query)
            if self.family in ("", item.family) and self.colour in ("", *item.colours)
        ]


@flowers.get("/flowers")
@route_options(allows_cors=True)
def index() -> Response:
    """List the flowers by name; `q`, `family` and `colour` filter them."""
    filters = Filters.from_request()
    language = current_language() if prefers_html() else ENGLISH
    all_flowers = _all_flowers(language)
    found = filters.apply(all_flowers)
    if not prefers_html():
        return _cacheable(serialize_flowers(found).to_response())
    page = render_page(
        "flowers.html",
        flowers=all_flowers,
        letters=_by_letter(all_flowers, language),
        found=set(found),
        filters=filters,
        families=_family_choices(all_flowers, language),
        colours=[
            (name, text(f"colours.{name}"))
            for name in _COLOURS
            if any(name in item.colours for item in all_flowers)
        ],
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
            look_alikes=look_alikes(item, language),
            served=set(_all_flowers()),
            sources=sources_of([item]),
            picture=picture_of(item),
        )
    )


def _choice(name: str, allowed: Collection[str]) -> str:
    value = request.args.get(name, "")
    if value and value not in allowed:
        raise Problem(
            Code.INVALID_PARAMETER,
            f"The parameter {name} is {quoted(value)}; it must be one of: {', '.join(allowed)}.",
        )
    return value


def _all_flowers(language: str = ENGLISH) -> list[Flower]:
    return describe_classes(current_context().classifier.metadata.classes, language)


def _by_letter(items: Sequence[Flower], language: str) -> list[tuple[str, list[Flower]]]:
    """Group sorted flowers by the first letter of their names; "#" for other characters.

    The flowers of a short list, and those of a language or of names without letters, are one group.
    """
    if language in WITHOUT_LETTERS:
        return [("", list(items))]

    def letter(item: Flower) -> str:
        first = normalize(item.name_in(language))[:1].upper()
        return first if first.isascii() and first.isalpha() else "#"

    groups = [(first, list(group)) for first, group in groupby(items, letter)]
    return groups if len(groups) > 1 and len(items) > _MAX_UNGROUPED else [("", list(items))]


def _family_choices(items: Sequence[Flower], language: str) -> list[tuple[str, str]]:
    """Return the families of flowers as (scientific name, name in a language), sorted by name."""
    found = {item.family: item.family_in(language)[0] for item in items if item.family}
    if language in WITHOUT_LETTERS:
        return sorted(found.items())
    return sorted(found.items(), key=lambda names: normalize(names[1]))


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
