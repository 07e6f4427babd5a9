"""Translations of the pages: message catalogs and language negotiation.

Catalogs are TOML rather than gettext: few messages have plural forms, no build step is needed, and
the page's scripts receive their messages as JSON.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

from flask import g, request
from markupsafe import Markup, escape
from werkzeug.datastructures import LanguageAccept

_FOLDER: Final = Path(__file__).with_name("languages")
ENGLISH: Final = "en"  # the API's language and the fallback
LANGUAGE_PARAMETER: Final = "lang"
LANGUAGE_COOKIE: Final = "language"
# Counts that take the plural form "one", by CLDR. Elsewhere it is 1 only.
_COUNTS_OF_ONE: Final = {"fr": (0, 1)}


@cache
def message_catalogs() -> dict[str, dict[str, str]]:
    """Return the messages of each language by key, such as "page.question".

    The plural forms of a message have keys such as "page.flowers.one" and "page.flowers.other".
    """
    return {path.stem: _messages(path) for path in sorted(_FOLDER.glob("*.toml"))}


def _messages(path: Path) -> dict[str, str]:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for table, messages in tables.items():
        for name, message in messages.items():
            if isinstance(message, str):
                found[f"{table}.{name}"] = message
            else:
                found |= {f"{table}.{name}.{form}": value for form, value in message.items()}
    return found


def choose_language(accepted: LanguageAccept) -> str:
    """Return the available language with the highest preference, or English.

    The first subtag decides, as in RFC 4647: "zh-TW" gets the page in simplified Chinese.
    """
    # `best_match` compares whole tags first and would choose "de" for "en-GB, de;q=0.5".
    for tag, quality in accepted:
        language = re.split("[-_]", tag.lower())[0]
        if quality > 0 and language in message_catalogs():
            return language
    return ENGLISH


def use_language(language: str) -> None:
    """Set the language of the current request, regardless of the reader's choice."""
    g.language = language


def current_language() -> str:
    """Return the language of the current request.

    `?lang=` comes before the cookie, and the cookie before Accept-Language. A language that is not
    available is ignored.
    """
    if "language" not in g:
        g.language = (
            asked_language()
            or _available(request.cookies.get(LANGUAGE_COOKIE))
            or choose_language(request.accept_languages)
        )
    return str(g.language)


def asked_language() -> str | None:
    """Return the language that the request's `?lang=` names; None if it names no available one."""
    return _available(request.args.get(LANGUAGE_PARAMETER))


def _available(language: str | None) -> str | None:
    return language if language in message_catalogs() else None


def text(key: str, **values: Any) -> Markup:
    """Return a message in the current language, formatted and escaped for HTML.

    Args:
        key: Key of the message, without its plural form.
        values: Values of the placeholders; `count` chooses the plural form.

    Raises:
        KeyError: The message or the value of a placeholder is missing.
    """
    return escape(find_message(current_language(), key, values.get("count"))).format(**values)


def find_message(language: str, key: str, count: int | None = None) -> str:
    """Return an unformatted message, in the plural form for `count` if it has several.

    Raises:
        KeyError: There is no such message.
    """
    catalog = message_catalogs()[language]
    is_one = count in _COUNTS_OF_ONE.get(language, (1,))
    return catalog.get(key) or catalog[f"{key}.{'one' if is_one else 'other'}"]


def messages(table: str) -> dict[str, str]:
    """Return the unformatted messages of a table in the current language."""
    prefix = f"{table}."
    return {
        key.removeprefix(prefix): message
        for key, message in message_catalogs()[current_language()].items()
        if key.startswith(prefix)
    }


def format_decimal(number: float) -> str:
    """Format a number in the current language: "6.0" in English, "6,0" in German."""
    return f"{number:.1f}".replace(".", messages("language")["decimal"])


def format_percent(probability: float) -> str:
    """Format a probability in the current language: "97.3%" in English, "97,3 %" in German."""
    formats = messages("language")

    def percent(value: float) -> str:
        return formats["percent"].format(number=format_decimal(value))

    if probability < 0.001:
        return formats["less_than"].format(percent=percent(0.1))
    if probability >= 0.9995:
        return formats["more_than"].format(percent=percent(99.9))
    return percent(probability * 100)
