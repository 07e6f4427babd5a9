"""Security headers, cross-site request protection and CORS.

Browsers send `Sec-Fetch-Site` and `Origin`, which identify cross-site requests without a token or a
cookie. Other clients send neither and pass.
"""

from __future__ import annotations

from typing import Final

from flask import Flask, Response, make_response, request

from app.context import current_context
from app.http.problems import Code, Problem, quoted
from app.http.rate_limits import RATE_LIMIT_HEADERS
from app.http.request_id import REQUEST_ID_HEADER
from app.http.route_options import current_route_options

CONTENT_SECURITY_POLICY: Final = "Content-Security-Policy"
_POLICY: Final = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
# A worker has the policy of its own script, not that of the page.
WASM_POLICY: Final = _POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
SECURITY_HEADERS: Final = {
    CONTENT_SECURITY_POLICY: _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer", browsers would send our own form with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The page takes photos with a file input, which needs no camera permission.
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": f"Authorization, Content-Type, X-API-Key, {REQUEST_ID_HEADER}",
    "Access-Control-Max-Age": "7200",
}
_EXPOSED_HEADERS: Final = ", ".join(("Retry-After", REQUEST_ID_HEADER, *RATE_LIMIT_HEADERS))


def init_security(app: Flask) -> None:
    """Refuse cross-site requests to `app`, and add the security headers to every response."""
    app.before_request(_refuse_cross_site_post)
    app.before_request(_answer_preflight)
    app.after_request(_add_headers)


def _refuse_cross_site_post() -> None:
    if request.method in _SAFE_METHODS or _allowed_origin() is not None:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise _cross_site(origin)
    # An older browser, or a page without TLS. The schemes may differ behind a proxy with TLS.
    elif origin is not None and origin.partition("://")[2] != request.host:
        raise _cross_site(
            origin,
            f" If it is this service's own page, a proxy has replaced its Host by "
            f"{quoted(request.host)}: let the proxy pass Host on, or send X-Forwarded-Host and set "
            "PETALSCOPE_PROXY_COUNT.",
        )


def _cross_site(origin: str | None, hint: str = "") -> Problem:
    return Problem(
        Code.CROSS_SITE_REQUEST,
        f"Pages of {quoted(origin or 'another site')} may not send photos here. To allow it, add "
        f"that origin to PETALSCOPE_CORS_ORIGINS.{hint}",
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
    """Return the value of Access-Control-Allow-Origin, or None if the origin is not allowed."""
    origins = current_context().settings.cors_origins
    if not origins or not current_route_options().allows_cors:
        return None
    if "*" in origins:
        return "*"
    origin = request.headers.get("Origin")
    return origin if origin in origins else None


def _add_headers(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if current_context().settings.cors_origins and current_route_options().allows_cors:
        response.vary.add("Origin")
    allowed = _allowed_origin()
    if allowed is not None:
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
    return response
