"""Detection of clients that disconnect before their response."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

# POLLRDHUP (Linux) reports a closed peer even behind unread bytes, such as a pipelined request or a
# TLS close_notify; peeking would not. Other systems report only broken connections.
_DISCONNECTED: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


def is_connected(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """Return a thread-safe function that is True while the request's client is connected.

    A half-closed connection counts as disconnected, as in nginx and Go's server, because TCP cannot
    distinguish it from a fully closed one. Clients that half-close, such as `nc -N`, get a 400.

    Args:
        environ: WSGI environment; without `gunicorn.socket` the client counts as connected.
    """
    connection = environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return lambda: True

    def connected() -> bool:
        number = connection.fileno()
        if number < 0:
            return False
        state = select.poll()
        state.register(number, _DISCONNECTED)
        return not state.poll(0)

    return connected
