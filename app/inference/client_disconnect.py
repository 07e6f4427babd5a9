"""Whether the client of a request is still there to read its answer.

gunicorn's socket -> is_connected -> asked before a photo is read, and before the model runs it
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

# Linux tells when the other side has closed, even behind bytes that nobody has read yet, such as
# the next request, or the farewell of TLS: peeking at them would not. Elsewhere only a connection
# that broke is noticed.
_HAS_LEFT: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


def is_connected(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """Return what tells whether a request's client still waits, from any thread and at any time.

    A client that has closed its connection for sending alone counts as gone: TCP tells no more of
    one that has closed it altogether. nginx and Go's server take it so too; those who half-close
    and then listen, such as `nc -N`, are told by the answer.

    Args:
        environ: The request's; without gunicorn's socket its client always waits.
    """
    connection = environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return lambda: True

    def waits() -> bool:
        number = connection.fileno()
        if number < 0:
            return False
        state = select.poll()
        state.register(number, _HAS_LEFT)
        return not state.poll(0)

    return waits
