"""Cache-Control and ETag headers."""

from __future__ import annotations

from typing import Final

from flask import Flask, Response, request

from app.context import current_context
from app.http.route_options import current_route_options

_YEAR_S: Final = 365 * 24 * 3600


def init_caching(app: Flask) -> None:
    """Set Cache-Control on every response of `app`."""
    app.after_request(_set_cache_control)


def cacheable(response: Response, *, vary: str | None = None) -> Response:
    """Make a response cacheable with revalidation by ETag, and answer 304 if it is unchanged.

    Args:
        response: Response with a complete body that does not depend on the sender.
        vary: Request header that the response depends on.
    """
    if vary is not None:
        response.vary.add(vary)
    response.cache_control.public = True
    response.cache_control.no_cache = True
    response.add_etag()
    response.make_conditional(request)
    return response


def cacheable_version(response: Response, version: str) -> Response:
    """Make a cacheable response immutable for a year if the request's `v` is its version."""
    if request.args.get("v") == version:
        response.cache_control.no_cache = None
        response.cache_control.max_age = _YEAR_S
        response.cache_control.immutable = True
    return response


def _set_cache_control(response: Response) -> Response:
    cache_control = response.cache_control
    if request.method not in ("GET", "HEAD") or response.status_code >= 400:
        # Results are for the sender of the photo only, and errors contain a request ID.
        response.headers["Cache-Control"] = "no-store"
    elif not cache_control:
        # Without the header, caches may store a response at their own discretion.
        cache_control.private = True
        cache_control.no_cache = True
    elif _needs_key() or "Set-Cookie" in response.headers:
        # A shared cache would serve it without a key, or set the cookie for other readers.
        cache_control.public = False
        cache_control.private = True
    return response


def _needs_key() -> bool:
    has_keys = current_context().settings.api_keys_file is not None
    return has_keys and not current_route_options().is_public
