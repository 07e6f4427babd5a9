"""What caches may keep and must ask for again, by its ETag: all that changes with the model."""

from __future__ import annotations

from flask import Response, request


def cacheable(response: Response, *, vary: str | None = None) -> Response:
    """Let caches keep an answer, and ask each time whether it is still so; 304 where it is.

    Args:
        response: Whose body is complete.
        vary: The header of the request, besides the address, on which the answer depends.
    """
    if vary is not None:
        response.vary.add(vary)
    response.cache_control.public = True
    response.cache_control.no_cache = True
    response.add_etag()
    response.make_conditional(request)
    return response
