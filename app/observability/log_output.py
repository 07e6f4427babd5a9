"""Log output that blocks neither requests nor the end of the process.

Standard output and standard error may be pipes whose reader has stopped or is gone. The app's lines
wait in a bounded queue for a writer thread. gunicorn's few lines are written at once. Lines that
find no room are dropped and counted.
"""

from __future__ import annotations

import logging
import os
import select
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Final

from gunicorn import glogging  # type: ignore[import-untyped]
from pythonjsonlogger.json import JsonFormatter

from app.observability.metrics import LOG_LINES_DROPPED

_STANDARD_OUTPUT: Final = 1
_STANDARD_ERROR: Final = 2
_MAX_QUEUED_LINES: Final = 10_000
# The process ends after this time even if standard output is stalled.
_FLUSH_SECONDS: Final = 2.0
# A pipe that poll() reports as writable takes this much without blocking.
_PIECE_BYTES: Final = select.PIPE_BUF


class JsonLog(logging.Handler):
    """Handler that queues formatted lines for a writer thread; a full queue drops them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter())
        # A Queue has a bound, but takes locks in Python.
        self._lines: SimpleQueue[str | Event] = SimpleQueue()
        Thread(target=_write_queued, args=(self._lines,), name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line without blocking."""
        if self._lines.qsize() >= _MAX_QUEUED_LINES:
            LOG_LINES_DROPPED.inc()
            return
        try:
            self._lines.put(self.format(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all queued lines are written, at most `_FLUSH_SECONDS`."""
        written = Event()
        self._lines.put(written)
        written.wait(_FLUSH_SECONDS)


class ServerLogger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's logger, which drops a line if standard error has no room for it."""

    def setup(self, cfg: Any) -> None:
        """Configure the log as gunicorn does, and replace the handlers that could block."""
        super().setup(cfg)
        for handler in list(self.error_log.handlers):
            if type(handler) is logging.StreamHandler:
                replacement = _StandardError()
                replacement.setFormatter(handler.formatter)
                # gunicorn removes its own handlers, marked so, when it reloads its configuration.
                replacement._gunicorn = True  # type: ignore[attr-defined]
                self.error_log.removeHandler(handler)
                self.error_log.addHandler(replacement)


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


class _StandardError(logging.Handler):
    """Handler that writes to standard error without waiting."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write or drop a line."""
        _write_line(_STANDARD_ERROR, self.format(record), timeout=0)


def _write_queued(lines: SimpleQueue[str | Event]) -> None:
    """Write queued lines to standard output, and set queued events; wait while it is stalled.

    No lock is held meanwhile: `logging.shutdown` would wait for it.
    """
    while True:
        line = lines.get()
        if isinstance(line, Event):
            line.set()
        else:
            _write_line(_STANDARD_OUTPUT, line, timeout=None)


def _write_line(descriptor: int, text: str, timeout: float | None) -> None:
    """Write a line, or drop and count it.

    Args:
        descriptor: File descriptor of the output.
        text: The line, without its end.
        timeout: Milliseconds to wait for room; None waits without limit.
    """
    line = f"{text}\n".encode(errors="backslashreplace")
    output = select.poll()
    output.register(descriptor, select.POLLOUT)
    while line:
        if not output.poll(timeout):
            LOG_LINES_DROPPED.inc()
            return
        try:
            line = line[os.write(descriptor, line[:_PIECE_BYTES]) :]
        except OSError:  # closed
            LOG_LINES_DROPPED.inc()
            return
