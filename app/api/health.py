"""Liveness and readiness checks for load balancers and containers."""

from __future__ import annotations

from typing import Final

from flask import Blueprint

from app.context import current_context
from app.http.problems import Code, Problem
from app.http.route_options import route_options

health: Final = Blueprint("health", __name__)


@health.get("/healthz")
@route_options(is_public=True, is_quiet=True)
def healthz() -> dict[str, str]:
    """Return 200 while the process runs."""
    return {"status": "alive"}


@health.get("/readyz")
@route_options(is_public=True, is_quiet=True)
def readyz() -> dict[str, str]:
    """Return 200 while photos are accepted, otherwise 503."""
    if not current_context().batcher.accepting:
        raise Problem(Code.NOT_READY, "The service is stopping, or its model failed.")
    return {"status": "ready"}
