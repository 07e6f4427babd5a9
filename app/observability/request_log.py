"""Request log: one line of JSON per request on standard output.

JSON escapes every character that could end or forge a line, and long texts are truncated. Personal
data is not logged: no client address, file name or user agent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from flask import Flask, Response, g, request

from app.context import current_context
from app.http.request_body import bytes_read
from app.http.request_id import REQUEST_ID_HEADER, request_id
from app.http.route_options import current_route_options
from app.observability.log_output import JsonLog

_log: Final = logging.getLogger(__name__)

_MAX_TEXT_LENGTH: Final = 200


def init_request_log(app: Flask, level: str) -> None:
    """Log the requests and modules of `app` from `level` upwards."""
    logger = logging.getLogger(app.import_name)
    logger.setLevel(level.upper())
    if not any(isinstance(handler, JsonLog) for handler in logger.handlers):
        logger.addHandler(JsonLog())
    app.before_request(_start)
    app.after_request(_finish)


def note_step(step: str, photos: Sequence[float], total: float) -> None:
    """Add the durations of a step to the metrics and, as `<step>_ms`, to the request's log line.

    Args:
        step: Name of the step.
        photos: Duration for each photo of the request, in seconds, for the metrics.
        total: Duration for the request, in seconds, for the log. Photos may share the time.
    """
    for seconds in photos:
        current_context().metrics.step_done(step, seconds)
    g.setdefault("durations", {})[f"{step}_ms"] = _milliseconds(total)


def _start() -> None:
    g.started = time.monotonic()


def _finish(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = request_id()
    seconds = time.monotonic() - g.started
    route = request.url_rule.rule if request.url_rule else "none"
    current_context().metrics.request_answered(request.method, route, response.status_code, seconds)
    level = logging.DEBUG if current_route_options().is_quiet else logging.INFO
    fields = {
        "id": request_id(),
        "method": request.method[:_MAX_TEXT_LENGTH],
        "path": request.path[:_MAX_TEXT_LENGTH],
        "status": response.status_code,
        "bytes_in": bytes_read(request),
        "ms": _milliseconds(seconds),
        **g.get("durations", {}),
    }
    _log.log(level, "request", extra={"fields": fields})
    return response


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
