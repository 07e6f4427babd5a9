"""Log output that blocks neither requests nor the end of the process.

Standard output and standard error may be pipes whose reader has stopped or is gone. The app's lines
wait in a bounded queue for a writer thread. gunicorn's few lines are written at once. Lines that
find no room are dropped and counted.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Sequence
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Event, Thread
from time import sleep
from typing import Any, Final

from gunicorn import glogging  # type: ignore[import-untyped]
from pythonjsonlogger.json import JsonFormatter

from app.observability.metrics import LOG_LINES_DROPPED

_STANDARD_OUTPUT: Final = 1
_STANDARD_ERROR: Final = 2
_MAX_QUEUED_LINES: Final = 10_000
_MAX_WRITTEN_LINES: Final = 1_000
# The process ends after this time even if standard output is stalled.
_FLUSH_SECONDS: Final = 2.0
# Waking the writer for each line of a busy service would cost two context switches per request.
_PAUSE_SECONDS: Final = 0.02
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
        _write_lines(_STANDARD_ERROR, [self.format(record)], timeout=0)


def _write_queued(queue: SimpleQueue[str | Event]) -> None:
    """Write queued lines to standard output, and set queued events; wait while it is stalled.

    No lock is held meanwhile: `logging.shutdown` would wait for it.
    """
    while True:
        lines: list[str] = []
        events: list[Event] = []
        for _ in range(max(1, min(queue.qsize(), _MAX_WRITTEN_LINES))):
            entry = queue.get()
            if isinstance(entry, Event):
                events.append(entry)
            else:
                lines.append(entry)
        if lines:
            _write_lines(_STANDARD_OUTPUT, lines, timeout=None)
        for event in events:
            event.set()
        sleep(_PAUSE_SECONDS)


def _write_lines(descriptor: int, lines: Sequence[str], timeout: float | None) -> None:
    """Write lines, or drop and count those that are not completely written.

    Args:
        descriptor: File descriptor of the output.
        lines: The lines, without their ends.
        timeout: Milliseconds to wait for room; None waits without limit.
    """
    rest = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
    output = select.poll()
    output.register(descriptor, select.POLLOUT)
    while rest:
        if not output.poll(timeout):
            break
        # Whole lines, between which other processes may write theirs.
        end = rest.rfind(b"\n", 0, _PIECE_BYTES) + 1 or _PIECE_BYTES
        try:
            rest = rest[os.write(descriptor, rest[:end]) :]
        except OSError:  # closed
            break
    if rest:
        LOG_LINES_DROPPED.inc(rest.count(b"\n"))
