"""The API's first version, at /v1/… as well as at the paths without it.

    /v1/predict -> /predict, before any route, header or limit is looked up

Programs that name the version go on as they are when there is a second one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FIRST_VERSION: Final = "/v1"
_VERSIONED: Final = re.compile(
    r"/(predict|model|labels|flowers|flowers/[^/]+|openapi\.json|healthz|readyz)"
)


def init_versions(app: Flask) -> None:
    """Take the versioned paths for those without a version."""
    app.wsgi_app = _without_version(app.wsgi_app)  # type: ignore[assignment, method-assign]


def _without_version(application: WSGIApplication) -> WSGIApplication:
    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        rest = path.removeprefix(FIRST_VERSION)
        if rest != path and _VERSIONED.fullmatch(rest):
            environ["PATH_INFO"] = rest
        return application(environ, start_response)

    return call
