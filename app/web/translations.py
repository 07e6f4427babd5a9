"""The page's words: a catalogue for each language, and which of them a reader gets.

    languages/*.toml -> {"page.question": "What flower is this?", …}
    Accept-Language  -> "en" | "de" -> text("page.question")

TOML and not gettext: there are no plurals to form and no catalogues to compile, messages are named
by what they are for, and page.js is given its part of them as JSON.
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
ENGLISH: Final = "en"  # of the API, of the data set's names, and of readers of no language of ours


@cache
def message_catalogs() -> dict[str, dict[str, str]]:
    """Return the messages of each language, by table and name: "page.question"."""
    return {path.stem: _messages(path) for path in sorted(_FOLDER.glob("*.toml"))}


def _messages(path: Path) -> dict[str, str]:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        f"{table}.{name}": message
        for table, messages in tables.items()
        for name, message in messages.items()
    }


def choose_language(accepted: LanguageAccept) -> str:
    """Return the language of ours that a reader likes best; English where there is none."""
    # Not `best_match`, which looks for whole tags first, and takes "de" of "en-GB, de;q=0.5".
    for tag, quality in accepted:
        language = re.split("[-_]", tag.lower())[0]
        if quality > 0 and language in message_catalogs():
            return language
    return ENGLISH


def use_language(language: str) -> None:
    """Answer the current request in a language, whatever its reader likes best."""
    g.language = language


def current_language() -> str:
    """Return the language of the current request's page."""
    if "language" not in g:
        g.language = choose_language(request.accept_languages)
    return str(g.language)


def text(key: str, **values: Any) -> Markup:
    """Return a message in the language of the page, its placeholders filled in, safe in HTML.

    Raises:
        KeyError: There is no such message, or a placeholder has no value.
    """
    return escape(message_catalogs()[current_language()][key]).format(**values)


def messages(table: str) -> dict[str, str]:
    """Return the messages of a table in the language of the page, as they are written."""
    start = f"{table}."
    return {
        key.removeprefix(start): message
        for key, message in message_catalogs()[current_language()].items()
        if key.startswith(start)
    }


def format_percent(probability: float) -> str:
    """Write a probability as the language of the page does: "97.3 %", "97,3 %"."""
    if probability < 0.001:
        number = "<\u00a00.1"
    elif probability >= 0.9995:
        number = ">\u00a099.9"
    else:
        number = f"{probability * 100:.1f}"
    return f"{number.replace('.', text('language.decimal'))}\u00a0%"
