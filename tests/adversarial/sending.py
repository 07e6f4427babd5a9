"""Bytes as they are to a port, and what comes back; nothing here knows what a request is."""

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

PATIENCE: Final = 60
_SILENCE: Final = 1  # seconds
# What of the inside no client is to see: traces, modules, files, addresses in memory.
_INSIDE: Final = re.compile(
    rb"Traceback|File \"|\.py\b|site-packages|/work/|/home/|/usr/|/tmp/|object at 0x|BytesIO|PIL\."
)


@dataclass(frozen=True)
class Reply:
    """What came back: a status of 0, and nothing else, where nothing did."""

    status: int = 0
    body: bytes = b""
    whole: bool = True
    headers: HTTPMessage = field(default_factory=HTTPMessage)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def shows_the_inside(self) -> bool:
        return bool(_INSIDE.search(self.body))


class _Received:
    """What `http.client` takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def exchange(
    port: int, request: bytes, patience: float = PATIENCE, *, cut_short: bool = False
) -> Reply:
    """Send bytes on a connection of their own, and read until the server closes.

    Of a request that may be `cut_short` the end is told after a moment of silence, in which the
    server may be waiting for more. Told at once, it would be taken for a client that left.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), patience) as connection:
        # A server that has heard enough may answer and close before all is sent.
        with suppress(OSError):
            connection.sendall(request)
            if cut_short and not select.select([connection], [], [], _SILENCE)[0]:
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                received += piece
    return parsed(received, request.startswith(b"HEAD "))


def parsed(received: bytes, of_head: bool = False) -> Reply:
    """Read an answer; `whole` tells whether all of it is there."""
    if not received:
        return Reply()
    response = HTTPResponse(_Received(received), method="HEAD" if of_head else "POST")  # type: ignore[arg-type]
    try:
        response.begin()
        return Reply(response.status, response.read(), True, response.headers)
    except (HTTPException, ValueError):
        return Reply(response.status or 0, received, False)
