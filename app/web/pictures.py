"""Routes of the pictures of the flowers."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, make_response, request

from app.catalog.pictures import StoredPicture
from app.context import current_context
from app.http.caching import cacheable, cacheable_version
from app.http.problems import Code, Problem, quoted

pictures: Final = Blueprint("pictures", __name__)


@pictures.get("/pictures/<file>")
def picture(file: str) -> Response:
    """Return a picture. An address with its version is never stale."""
    found = _find(file)
    return _response(found, found.data, found.media_type)


@pictures.get("/pictures/<file>/thumbnail")
def thumbnail(file: str) -> Response:
    """Return a small square cut from a picture."""
    found = _find(file)
    return _response(found, found.thumbnail, "image/webp")


def _find(file: str) -> StoredPicture:
    """Return a picture of the manifest; the name is never used as a path.

    Raises:
        Problem: 404 if there is none.
    """
    found = current_context().pictures.get(file)
    if found is None:
        raise Problem(Code.NOT_FOUND, f"There is no picture at {quoted(request.path)}.")
    return found


def _response(found: StoredPicture, data: bytes, media_type: str) -> Response:
    response = make_response(data)
    response.content_type = media_type
    return cacheable_version(cacheable(response), found.version)
