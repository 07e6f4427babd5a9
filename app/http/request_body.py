"""The request body: buffering in memory and byte count."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any, Final

from flask import Request

from app.http.form_parser import FormParser

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Less than gunicorn.conf.py's threshold from which each allocation is a memory map of its own.
READ_AHEAD_BYTES: Final = 1024 * 1024 - 4096


class _RawBody(io.RawIOBase):
    """An adapter from gunicorn's body to the raw stream that `io.BufferedReader` reads."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # Other servers' `read` waits until the buffer is full, even after the end of the body.
        read = getattr(self._body, "read1", self._body.read)
        data = read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class UploadRequest(Request):
    """A request with a buffered body and the service's own form parser."""

    form_data_parser_class = FormParser

    def __init__(self, environ: WSGIEnvironment, *args: Any, **options: Any) -> None:
        # Werkzeug reads 64 KiB at a time, and gunicorn copies its whole read-ahead on each read.
        body = _RawBody(environ["wsgi.input"])
        environ["wsgi.input"] = io.BufferedReader(body, READ_AHEAD_BYTES)
        super().__init__(environ, *args, **options)


def bytes_read(request: Request) -> int:
    """Return the number of body bytes read, or Content-Length if the body was not read."""
    stream = request.__dict__.get("stream")
    return int(stream.tell()) if stream is not None else request.content_length or 0
