"""The reader's choice of a language: links for it, and a cookie that remembers it.

`?lang=fr` shows any page in French and sets the cookie. The cookie holds nothing but the code of a
language. `translations.current_language` reads both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from flask import Response, request, url_for

from app.web.translations import (
    LANGUAGE_COOKIE,
    LANGUAGE_PARAMETER,
    asked_language,
    current_language,
    message_catalogs,
)

_YEAR_S: Final = 365 * 24 * 3600


@dataclass(frozen=True)
class LanguageLink:
    """A link to the current page in another language.

    Attributes:
        code: Code of the language, such as "fr".
        name: Name of the language in that language, "Français".
        url: Relative URL, which no Host header can change.
    """

    code: str
    name: str
    url: str


def language_links() -> list[LanguageLink]:
    """Return a link to the current page in each language, by name.

    The response to a form has no address of its own, so its links lead to the start page.
    """
    is_page = request.method in ("GET", "HEAD")
    page = "" if is_page else url_for("pages.index")
    links = [
        LanguageLink(
            code,
            messages["language.name"],
            f"{page}?{_query({LANGUAGE_PARAMETER: code}, keep=is_page)}",
        )
        for code, messages in message_catalogs().items()
    ]
    return sorted(links, key=lambda link: link.name.casefold())


def url_without_language() -> str:
    """Return the relative URL of the current page in the reader's own language."""
    query = _query({})
    # Only the last segment: a path such as "//example.org" would lead to another host.
    page = quote(request.path.rpartition("/")[2])
    return f"./{page}{'?' if query else ''}{query}"


def add_language_headers(response: Response) -> None:
    """Declare what the language of a translated response depends on."""
    response.vary.update(("Accept-Language", "Cookie"))


def remember_language(response: Response) -> None:
    """Set the cookie if the request asks for a language by `?lang=`."""
    if asked_language() is None:
        return
    response.set_cookie(
        LANGUAGE_COOKIE,
        current_language(),
        max_age=_YEAR_S,
        path=url_for("pages.index"),
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )


def _query(changes: Mapping[str, str], *, keep: bool = True) -> str:
    """Return the query string of the request without its language, and with changes."""
    kept = [
        (name, value)
        for name, value in request.args.items(multi=True)
        if keep and name != LANGUAGE_PARAMETER
    ]
    return urlencode([*kept, *changes.items()])
