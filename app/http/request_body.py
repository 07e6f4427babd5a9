"""The request body: buffering in memory, byte count, and draining after an error."""

from __future__ import annotations

import contextlib
import io
import math
import socket
import struct
import time
from typing import IO, TYPE_CHECKING, Any, Final

from flask import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_MIB: Final = 1024 * 1024


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
    """A request that never writes uploaded files to disk, because photos are private."""

    def __init__(self, environ: WSGIEnvironment, *args: Any, **options: Any) -> None:
        # Werkzeug reads 64 KiB at a time, and gunicorn copies its whole read-ahead on each read.
        body = _RawBody(environ["wsgi.input"])
        environ["wsgi.input"] = io.BufferedReader(body, _MIB)
        super().__init__(environ, *args, **options)

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()


def bytes_read(request: Request) -> int:
    """Return the number of body bytes read, or Content-Length if the body was not read."""
    stream = request.__dict__.get("stream")
    return int(stream.tell()) if stream is not None else request.content_length or 0


def drain(request: Request, seconds: float) -> None:
    """Read and discard the rest of a refused request's body, for a limited time.

    gunicorn resets a connection that has unread data. The client would then see a broken pipe
    instead of the error response, because many clients send the whole body before they read.

    Args:
        request: The refused request. Its body may be read in full, in part or not at all.
        seconds: Maximum time that a slow client may hold this thread.
    """
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return
    deadline = time.monotonic() + seconds
    # The error response is sent in any case, and gunicorn closes a broken connection.
    with contextlib.suppress(Exception):
        while (left := deadline - time.monotonic()) > 0:
            _set_receive_timeout(connection, left)
            if not request.input_stream.read(_MIB):
                break
    with contextlib.suppress(OSError):
        _set_receive_timeout(connection, 0)


def _set_receive_timeout(connection: socket.socket, seconds: float) -> None:
    """Limit the time that each `recv` blocks; 0 means no limit.

    `socket.settimeout` would release the GIL three times more per refusal, and each time wait for
    it under load.
    """
    whole, rest = divmod(math.ceil(seconds * 1_000_000), 1_000_000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, rest))
