"""Security headers, cross-site request protection and CORS.

Cross-site requests are recognized by `Sec-Fetch-Site` and `Origin`, which
browsers send; no token or cookie is needed. Other clients send neither and pass.
"""

from __future__ import annotations

from typing import Final

from flask import Flask, Response, make_response, request

from app.context import current_context
from app.http.problems import Code, Problem, quoted
from app.http.route_options import current_route_options

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer", under which browsers send our own form with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The page takes photos by a file input, which needs no permission.
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-API-Key, X-Request-ID",
    "Access-Control-Max-Age": "7200",
}
_EXPOSED_HEADERS: Final = "Retry-After, X-Request-ID"


def init_security(app: Flask) -> None:
    """Guard every route of `app`."""
    app.before_request(_refuse_cross_site_post)
    app.before_request(_answer_preflight)
    app.after_request(_add_headers)


def _refuse_cross_site_post() -> None:
    if request.method in _SAFE_METHODS or _allowed_origin() is not None:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        refused = site not in ("same-origin", "none")
    else:
        # An older browser. Only hosts are compared: behind a proxy that ends TLS, we see http.
        refused = origin is not None and origin.partition("://")[2] != request.host
    if refused:
        raise Problem(
            Code.CROSS_SITE_REQUEST,
            f"Pages of {quoted(origin or 'another site')} may not send photos here; "
            "add that origin to PETALSCOPE_CORS_ORIGINS to let it use the API.",
        )


def _answer_preflight() -> Response | None:
    if (
        request.method != "OPTIONS"
        or "Access-Control-Request-Method" not in request.headers
        or _allowed_origin() is None
    ):
        return None
    response = make_response("", 204)
    response.headers.update(_PREFLIGHT)
    return response


def _allowed_origin() -> str | None:
    """Return the value of Access-Control-Allow-Origin, or None where another origin has none."""
    origins = current_context().settings.cors_origins
    if not current_route_options().allows_cors:
        return None
    if "*" in origins:
        return "*"
    origin = request.headers.get("Origin")
    return origin if origin in origins else None


def _add_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    if request.method not in _SAFE_METHODS:
        # What is said about a photo is for its sender alone.
        response.headers["Cache-Control"] = "no-store"
    if current_context().settings.cors_origins and current_route_options().allows_cors:
        response.vary.add("Origin")
    allowed = _allowed_origin()
    if allowed is not None:
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
    return response
