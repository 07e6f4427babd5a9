"""Page copy for tests of the pages."""

from __future__ import annotations

from typing import Any

from app.web.translations import ENGLISH, find_message


def message(key: str, language: str = ENGLISH, **values: Any) -> str:
    """Return a message of the page by its key, so that tests do not repeat the copy."""
    return find_message(language, key, values.get("count")).format(**values)
