"""Content negotiation by the Accept header: HTML or JSON."""

from __future__ import annotations

from typing import Final

from flask import request

from app.http.json_body import JSON

PROBLEM_JSON: Final = "application/problem+json"
_HTML: Final = "text/html"


def prefers_html() -> bool:
    """Return True if the client explicitly accepts text/html, as browsers do."""
    return request.accept_mimetypes.best_match([PROBLEM_JSON, JSON, _HTML]) == _HTML


def prefers_json() -> bool:
    """Return True if the client explicitly prefers application/json to HTML."""
    return request.accept_mimetypes.best_match([_HTML, JSON]) == JSON
