"""X-Forwarded headers of trusted reverse proxies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from app.http.problems import Code, Problem, quoted

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# "//evil.example" would turn every link of the page into a link to another host.
_PATH_PREFIX: Final = re.compile(r"(/[\w.-]+)*", re.ASCII)
_INVALID_PREFIX: Final = "petalscope.invalid_prefix"


def init_proxy(app: Flask, proxy_count: int) -> None:
    """Take the client's address, scheme, host and path prefix from the last `proxy_count` proxies.

    Requests with an invalid X-Forwarded-Prefix get 400.
    """
    app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
        _remove_invalid_prefix(app.wsgi_app),
        x_for=proxy_count,
        x_proto=proxy_count,
        x_host=proxy_count,
        x_prefix=proxy_count,
    )
    app.before_request(_refuse_invalid_prefix)
    app.after_request(_vary_by_prefix)


def _remove_invalid_prefix(wsgi_app: WSGIApplication) -> WSGIApplication:
    """Wrap `wsgi_app` so that no response, not even an error page, contains an invalid prefix."""

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        prefix = environ.get("SCRIPT_NAME", "")
        if not _PATH_PREFIX.fullmatch(prefix):
            environ["SCRIPT_NAME"] = ""
            environ[_INVALID_PREFIX] = prefix
        return wsgi_app(environ, start_response)

    return call


def _refuse_invalid_prefix() -> None:
    prefix = request.environ.get(_INVALID_PREFIX)
    if prefix is not None:
        raise Problem(
            Code.BAD_REQUEST,
            f"The X-Forwarded-Prefix {quoted(prefix)} is invalid. The proxy must set a path such "
            "as /flowers, without a slash at the end, or none.",
        )


def _vary_by_prefix(response: Response) -> Response:
    # Links contain the prefix.
    response.vary.add("X-Forwarded-Prefix")
    return response
