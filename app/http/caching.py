"""Cache headers and ETags of responses that depend on the model."""

from __future__ import annotations

from flask import Response, request


def cacheable(response: Response, *, vary: str | None = None) -> Response:
    """Make a response cacheable with revalidation by ETag, and answer 304 if it is unchanged.

    Args:
        response: Response with a complete body.
        vary: Request header that the response depends on.
    """
    if vary is not None:
        response.vary.add(vary)
    response.cache_control.public = True
    response.cache_control.no_cache = True
    response.add_etag()
    response.make_conditional(request)
    return response
