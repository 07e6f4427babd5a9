"""API versions in paths: every API route exists below /v1 and without a prefix.

`/v1` stays stable when `/v2` ships. The paths without a prefix follow the newest version.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Flask, request, url_for

API_PREFIX: Final = "/v1"
_SUFFIX: Final = "_v1"


def register_versioned(app: Flask, blueprint: Blueprint) -> None:
    """Register a blueprint twice: without a prefix, and below `API_PREFIX`."""
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, name=f"{blueprint.name}{_SUFFIX}", url_prefix=API_PREFIX)


def api_url(endpoint: str, **values: Any) -> str:
    """Build the URL of a versioned route, in the version of the current request.

    Args:
        endpoint: Blueprint and view, such as "api.predict".
        values: Arguments of `flask.url_for`.
    """
    blueprint, _, view = endpoint.partition(".")
    suffix = _SUFFIX if (request.blueprint or "").endswith(_SUFFIX) else ""
    return url_for(f"{blueprint}{suffix}.{view}", **values)
