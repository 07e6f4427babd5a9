"""One line of JSON per request on standard output, and the request's id in and out.

    request, with or without X-Request-ID -> g.request_id -> … -> X-Request-ID of the response
                                                             -> {"time": …, "id": …, "status": …}

All that the app logs takes the same form, and is written by one thread: a request waits neither
for whoever reads the log nor for the lines of others. JSON escapes whatever could end or forge a
line, and long texts are cut. Nothing about the person is logged: no address, no file name, no user
agent.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Empty, SimpleQueue
from typing import Any, Final, TextIO

from flask import Flask, Response, g, request

from app.context import current_context
from app.http.request_body import bytes_read
from app.http.request_id import REQUEST_ID_HEADER, request_id
from app.http.route_options import current_route_options

_log: Final = logging.getLogger(__name__)

_LONGEST_TEXT: Final = 200
_MOMENT: Final = 0.02  # seconds


class JsonFormatter(logging.Formatter):
    """A record as one line of ASCII JSON; `extra={"fields": {…}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Write to whatever is standard output now, and not when the handler was made."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


class _Writer(QueueListener):
    """Write a line at once, and those that come within a moment together.

    For each line alone it would take Python's lock from a request twice, under load hundreds of
    times a second.
    """

    _told_to_stop = False

    def dequeue(self, block: bool) -> Any:
        """Wait for a line; None, once, where it is time to stop."""
        if self._told_to_stop:
            self._told_to_stop = False
            return None
        return super().dequeue(block)

    def handle(self, record: logging.LogRecord) -> None:
        """Write a line, and with it those that have come since; then leave others a moment."""
        lines = [record.getMessage()]
        with suppress(Empty):
            while (more := super().dequeue(block=False)) is not None:
                lines.append(more.getMessage())
            self._told_to_stop = True  # what comes behind is for the next start
        record.msg = "\n".join(lines)
        super().handle(record)
        time.sleep(_MOMENT)


class _Lines(QueueHandler):
    """Make lines in the thread that logs, and have one other write them.

    Many threads that write take turns by a lock, and each holds it until it has both written and
    been let on by Python: under load that took longer than a refusal.
    """

    def __init__(self) -> None:
        super().__init__(SimpleQueue())
        self.setFormatter(JsonFormatter())
        self._writer = _Writer(self.queue, _StandardOutput())
        self._writer.start()

    def drain(self) -> None:
        """Return when all that was logged before has been written."""
        self._writer.stop()
        self._writer.start()

    def close(self) -> None:
        """Write what is left, and end the thread; `logging` does so when the process ends."""
        self._writer.stop()
        super().close()


def init_request_log(app: Flask, level: str) -> None:
    """Log the requests of `app`, and what its modules say, from `level` upwards."""
    logger = logging.getLogger(app.import_name)
    logger.setLevel(level.upper())
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())
    app.before_request(_start)
    app.after_request(_finish)


def note_duration(step: str, seconds: float) -> None:
    """Tell the metrics how long a step took, and the request's line, as `<step>_ms`."""
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
        "method": request.method[:_LONGEST_TEXT],
        "path": request.path[:_LONGEST_TEXT],
        "status": response.status_code,
        "bytes_in": bytes_read(request),
        "ms": _milliseconds(seconds),
        **g.get("durations", {}),
    }
    _log.log(level, "request", extra={"fields": fields})
    return response


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
