"""What a client would rather have, a page or JSON, by its Accept header."""

from __future__ import annotations

from typing import Final

from flask import request

PROBLEM_JSON: Final = "application/problem+json"
_JSON: Final = "application/json"
_PAGE: Final = "text/html"


def prefers_html() -> bool:
    """Whether a page is asked for by name, as browsers do; scripts say */* at most."""
    return request.accept_mimetypes.best_match([PROBLEM_JSON, _JSON, _PAGE]) == _PAGE


def prefers_json() -> bool:
    """Whether JSON is asked for by name, where else a page is given."""
    return request.accept_mimetypes.best_match([_PAGE, _JSON]) == _JSON
