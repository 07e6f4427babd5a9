"""Whether the process lives, and whether it can answer: for load balancers and containers."""

from __future__ import annotations

from typing import Final

from flask import Blueprint

from app.problems import Code, Problem
from app.service import current_service

health: Final = Blueprint("health", __name__)


@health.get("/healthz")
def healthz() -> dict[str, str]:
    """Answer that the process is alive."""
    return {"status": "alive"}


@health.get("/readyz")
def readyz() -> dict[str, str]:
    """Answer whether photos are taken; the model was loaded and warmed before the app was made."""
    if not current_service().batcher.accepting:
        raise Problem(Code.NOT_READY, "The service is stopping, or its model failed.")
    return {"status": "ready"}
