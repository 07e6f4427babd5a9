"""JSON log on standard output: one line per request.

A separate thread writes the lines, so that requests do not wait for the reader of the log. JSON
escapes whatever could end or forge a line, and long texts are truncated. Personal data is not
logged: no client address, file name or user agent.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from typing import Any, Final, TextIO

from flask import Flask, Response, g, request
from pythonjsonlogger.json import JsonFormatter

from app.context import current_context
from app.http.request_body import bytes_read
from app.http.request_id import REQUEST_ID_HEADER, request_id
from app.http.route_options import current_route_options
from app.observability.metrics import LOG_LINES_DROPPED

_log: Final = logging.getLogger(__name__)

_MAX_TEXT_LENGTH: Final = 200
_MAX_QUEUED_LINES: Final = 10_000
# A stalled standard output must not delay the end of the process for longer.
_FLUSH_SECONDS: Final = 2.0


class _Formatter(JsonFormatter):
    """Formatter for one line of ASCII JSON; `extra={"fields": {…}}` adds keys."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Fill `log_data` with the keys of one line."""
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(
            timespec="milliseconds"
        )
        log_data["level"] = record.levelname.lower()
        log_data["message"] = record.getMessage()
        log_data.update(getattr(record, "fields", {}))
        if "exc_info" in message_dict:
            log_data["exception"] = message_dict["exc_info"]


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Handler that writes to the current `sys.stdout`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self.stream = sys.stdout
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - name of the base class
        """Count the line as dropped: a closed pipe must not print a traceback per line."""
        LOG_LINES_DROPPED.inc()


class _JsonLog(QueueHandler):
    """Handler that queues formatted lines for a writer thread; a full queue drops them."""

    def __init__(self) -> None:
        self._lines: Queue[Any] = Queue(_MAX_QUEUED_LINES)
        super().__init__(self._lines)
        self.setFormatter(_Formatter())
        QueueListener(self._lines, _StandardOutput()).start()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a line without blocking."""
        try:
            self._lines.put_nowait(record)
        except Full:
            LOG_LINES_DROPPED.inc()

    def flush(self) -> None:
        """Wait until all queued lines are written, at most `_FLUSH_SECONDS`."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(
                lambda: not self._lines.unfinished_tasks, _FLUSH_SECONDS
            )


def init_request_log(app: Flask, level: str) -> None:
    """Log the requests and modules of `app` from `level` upwards."""
    logger = logging.getLogger(app.import_name)
    logger.setLevel(level.upper())
    if not any(isinstance(handler, _JsonLog) for handler in logger.handlers):
        logger.addHandler(_JsonLog())
    app.before_request(_start)
    app.after_request(_finish)


def note_duration(step: str, seconds: float) -> None:
    """Add the duration of a step to the metrics and, as `<step>_ms`, to the request's log line."""
    current_context().metrics.step_done(step, seconds)
    g.setdefault("durations", {})[f"{step}_ms"] = _milliseconds(seconds)


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
