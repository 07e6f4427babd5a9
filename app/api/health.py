"""Liveness and readiness checks for load balancers and containers."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response

from app.context import current_context
from app.http.problems import Code, Problem
from app.http.route_options import route_options
from app.schemas.responses import Status

health: Final = Blueprint("health", __name__)


@health.get("/healthz")
@route_options(is_public=True, is_quiet=True)
def healthz() -> Response:
    """Return 200 while the process runs."""
    return Status(status="alive").to_response()


@health.get("/readyz")
@route_options(is_public=True, is_quiet=True)
def readyz() -> Response:
    """Return 200 while photos are accepted, otherwise 503."""
    batcher = current_context().batcher
    if batcher.stalled:
        raise Problem(Code.MODEL_STALLED, "The model hangs; the service is restarting.")
    if not batcher.accepting:
        raise Problem(Code.NOT_READY, "The service is shutting down, or its model failed.")
    return Status(status="ready").to_response()
