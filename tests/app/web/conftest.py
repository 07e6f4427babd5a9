"""Page copy for tests of the pages."""

from __future__ import annotations

from app.web.translations import ENGLISH, message_catalogs


def message(key: str, language: str = ENGLISH, **values: object) -> str:
    """Return a message of the page by its key, so that tests do not repeat the copy."""
    return message_catalogs()[language][key].format(**values)
