"""Request body: kept in memory, counted, and drained after an error."""

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


class _Body(io.RawIOBase):
    """A body as gunicorn gives it, in the form that Python's buffers take."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # Servers whose bodies do not end by themselves would wait for the whole buffer's worth.
        read = getattr(self._body, "read1", self._body.read)
        data = read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class UploadRequest(Request):
    """A request whose files stay in memory: the disk may be read-only, and photos are private."""

    def __init__(self, environ: WSGIEnvironment, *args: Any, **options: Any) -> None:
        # Werkzeug takes 64 KiB at a time, and each time gunicorn copies all that it has read ahead.
        body = _Body(environ["wsgi.input"])
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
    """Return how many bytes of the body were read, or are announced where none was."""
    stream = request.__dict__.get("stream")
    return int(stream.tell()) if stream is not None else request.content_length or 0


def discard_rest(request: Request, seconds: float) -> None:
    """Read on for a moment, so that a client that sends all before it listens gets its answer.

    Without it, gunicorn closes the connection on the bytes it did not read, which resets it, and
    the client sees a broken pipe in place of a refusal.

    Args:
        request: One that is refused, its body read in full, in part or not at all.
        seconds: How long a slow client may hold this thread.
    """
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return
    deadline = time.monotonic() + seconds
    # Whatever reading raises here, the answer stands, and gunicorn closes what cannot go on.
    with contextlib.suppress(Exception):
        while (left := deadline - time.monotonic()) > 0:
            _wait_at_most(left, connection)
            if not request.input_stream.read(_MIB):
                break
    with contextlib.suppress(OSError):
        _wait_at_most(0, connection)


def _wait_at_most(seconds: float, connection: socket.socket) -> None:
    """Have the kernel end a wait for bytes; 0 lets it last.

    `settimeout` would give up Python's lock three times more for each refusal, and under load wait
    for it as often.
    """
    whole, rest = divmod(math.ceil(seconds * 1_000_000), 1_000_000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, rest))
