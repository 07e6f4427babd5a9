"""HTML documentation of the API, rendered from its OpenAPI document."""

from __future__ import annotations

import json
from functools import partial
from typing import Final

from flask import Blueprint, Response, request

from app.context import current_context
from app.http.caching import cacheable
from app.http.uploads import PHOTO_FIELD
from app.schemas.openapi import describe_api
from app.web.rendering import render_page
from app.web.translations import ENGLISH

api_docs: Final = Blueprint("api_docs", __name__)


@api_docs.get("/docs")
def index() -> Response:
    """Render the API documentation, with a form for sending a photo."""
    page = render_page(
        "docs.html",
        language=ENGLISH,
        api=describe_api(current_context(), request.script_root),
        field=PHOTO_FIELD,
        # Jinja's tojson filter sorts the keys.
        as_json=partial(json.dumps, indent=2, ensure_ascii=False),
    )
    return cacheable(page)
