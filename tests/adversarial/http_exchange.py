"""Raw bytes sent to a port, and the parsed response."""

from __future__ import annotations

import io
import json
import re
import select
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import Any, Final

TIMEOUT: Final = 60
_SILENCE_SECONDS: Final = 1
# Traces, modules, paths and memory addresses must not reach a client.
_INTERNALS: Final = re.compile(
    rb"Traceback|File \"|\.py\b|site-packages|/work/|/home/|/usr/|/tmp/|object at 0x|BytesIO|PIL\."
)


@dataclass(frozen=True)
class Response:
    """A response; its status is 0 if the server sent nothing."""

    status: int = 0
    body: bytes = b""
    complete: bool = True
    headers: HTTPMessage = field(default_factory=HTTPMessage)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def leaks_internals(self) -> bool:
        return bool(_INTERNALS.search(self.body))


class _Received:
    """Received bytes with the interface of a socket, for `http.client`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def exchange(
    port: int, request: bytes, timeout: float = TIMEOUT, *, may_be_incomplete: bool = False
) -> Response:
    """Send a request on a new connection and read until the server closes it.

    If the request `may_be_incomplete`, half-close the connection after a second of silence. The
    server takes an immediate half-close for a disconnected client.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        # The server may respond and close before it has read everything.
        with suppress(OSError):
            connection.sendall(request)
            if may_be_incomplete and not select.select([connection], [], [], _SILENCE_SECONDS)[0]:
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                received += piece
    return parsed(received, request.startswith(b"HEAD "))


def parsed(received: bytes, of_head: bool = False) -> Response:
    """Parse a response; `complete` is False if it is truncated."""
    if not received:
        return Response()
    response = HTTPResponse(_Received(received), method="HEAD" if of_head else "POST")  # type: ignore[arg-type]
    try:
        response.begin()
        return Response(response.status, response.read(), True, response.headers)
    except (HTTPException, ValueError):
        return Response(response.status or 0, received, False)
