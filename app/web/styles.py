"""Style sheet of all pages: one file per component, joined so that a page needs one request."""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

from flask import Blueprint, Response, current_app, make_response

from app.http.caching import cacheable
from app.http.route_options import route_options

styles: Final = Blueprint("styles", __name__)

STYLES_FOLDER: Final = "styles"  # of the static files
# Later files override earlier ones.
_FILES: Final = (
    "base.css",
    "masthead.css",
    "sheet.css",
    "drawing.css",
    "panel.css",
    "result.css",
    "predictions.css",
    "cards.css",
    "menu.css",
    "picking.css",
    "entries.css",
    "select_part.css",
    "correction.css",
    "on_device.css",
    "links.css",
    "layout.css",
    "motion.css",
    "chinese.css",
)


@styles.get("/style.css")
@route_options(is_public=True)
def sheet() -> Response:
    """Return the style sheet."""
    response = make_response(joined_styles())
    response.content_type = "text/css; charset=utf-8"
    return cacheable(response)


def joined_styles() -> bytes:
    """Return the content of the style sheet, in UTF-8."""
    folder = Path(cast(str, current_app.static_folder)) / STYLES_FOLDER
    return b"\n".join((folder / name).read_bytes() for name in _FILES)
