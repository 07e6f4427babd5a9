"""A gunicorn thread worker that neither idle clients nor a lack of file descriptors can stop.

gunicorn's own thread worker closes a finished connection on its accept thread and waits up to
2 s there for the client to close its end. A few clients that keep their sockets open stall every
other client. This worker leaves that wait to the poller, so it costs neither that thread nor one
of the pool. It also stays alive when `accept` fails with EMFILE or ENFILE, and answers malformed
requests with a problem (RFC 9457) instead of gunicorn's HTML page.
"""

from __future__ import annotations

import errno
import resource
import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final
from uuid import uuid4

import gunicorn  # type: ignore[import-untyped]
from gunicorn import util
from gunicorn.workers import gthread  # type: ignore[import-untyped]
from werkzeug.http import HTTP_STATUS_CODES

from app.http.content_negotiation import PROBLEM_JSON
from app.http.problems import Code, ProblemDetails
from app.http.request_id import REQUEST_ID_HEADER
from app.http.security_headers import SECURITY_HEADERS

# The subclass uses finish_request, murder_pending, poller and nr_conns, which gunicorn does not
# document. tests/adversarial/test_idle_connections.py shows whether a new version still fits.
_GUNICORN_MAJOR: Final = 27

_LINGER_SECONDS: Final = 2.0
_MAX_DRAINED_BYTES: Final = 65_536
_READ_SIZE: Final = 4096
# Without a pause, the accept loop spins until another connection closes.
_ACCEPT_RETRY_SECONDS: Final = 0.02

# gunicorn's default, which no machine with ordinary limits has to reduce.
_MAX_CONNECTIONS: Final = 1000
_MIN_CONNECTIONS: Final = 8
# Listeners, pipes, epoll, the log, the model's files and the metrics port.
_OTHER_DESCRIPTORS: Final = 100


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard limit and return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS refuses an unlimited number
        return soft
    return hard


def max_connections(descriptor_limit: int, threads: int) -> int:
    """Return how many connections fit below the limit of open files.

    Args:
        descriptor_limit: Open files allowed, or `resource.RLIM_INFINITY`.
        threads: Size of the thread pool. Each thread may hold a selector beside its connection.
    """
    if descriptor_limit == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    room = descriptor_limit - threads - _OTHER_DESCRIPTORS
    return max(_MIN_CONNECTIONS, min(room, _MAX_CONNECTIONS))


class ThreadWorker(gthread.ThreadWorker):  # type: ignore[misc]
    """gunicorn's thread worker with a non-blocking graceful close."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lingering: deque[_LingeringConnection] = deque()

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse to start under a gunicorn whose internals may differ."""
        if gunicorn.version_info[0] != _GUNICORN_MAJOR:
            raise SystemExit(
                f"petalscope: app.gunicorn_worker needs gunicorn {_GUNICORN_MAJOR}, and "
                f"{gunicorn.__version__} is installed. Install the version in requirements.txt."
            )
        super().check_config(cfg, log)

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, or leave it in the backlog while no descriptor is free."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            time.sleep(_ACCEPT_RETRY_SECONDS)

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """Keep, defer or close a connection whose request was handled."""
        if fs.cancelled() or fs.exception() is not None or fs.result():
            super().finish_request(conn, fs)
            return
        # Closing at once would reset the connection if the client has sent more than was read,
        # and the client could lose the response (RFC 9112, section 9.6).
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            lingering = _LingeringConnection(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, lingering))
        except (OSError, ValueError, KeyError):
            self.nr_conns -= 1
            conn.close()
        else:
            self._lingering.append(lingering)
        # Leave room for new connections, however many clients never close theirs.
        while len(self._lingering) > self.worker_connections // 2:
            self._close(self._lingering[0])

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer a request that gunicorn refuses, usually because it violates HTTP."""
        refusal = _CapturedResponse()
        super().handle_error(req, refusal, addr, exc)  # logs the cause and chooses the status
        request_id = uuid4().hex
        self.log.warning("The refused request has the ID %s", request_id)
        # The client may be gone.
        with suppress(OSError):
            util.write_nonblock(client, _problem_response(refusal.status, request_id))

    def murder_pending(self) -> None:
        """Close connections whose time is up. The main loop calls this at least once a second."""
        super().murder_pending()
        now = time.monotonic()
        while self._lingering and self._lingering[0].deadline <= now:
            self._close(self._lingering[0])

    def _drain(self, lingering: _LingeringConnection, sock: socket.socket) -> None:
        """Discard what the client still sends, and close when it closes or sends too much."""
        try:
            data = sock.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        lingering.drained += len(data)
        if not data or lingering.drained >= _MAX_DRAINED_BYTES:
            self._close(lingering)

    def _close(self, lingering: _LingeringConnection) -> None:
        self._lingering.remove(lingering)
        self.poller.unregister(lingering.connection.sock)
        self.nr_conns -= 1
        lingering.connection.close()


class _LingeringConnection:
    """A connection whose response is sent and whose client has not closed yet."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.deadline = time.monotonic() + _LINGER_SECONDS
        self.drained = 0


class _CapturedResponse:
    """A stand-in for a client's socket that keeps the status of gunicorn's error page."""

    status = 500

    def gettimeout(self) -> float:
        return 0.0

    def sendall(self, data: bytes) -> None:
        self.status = int(data.split(maxsplit=2)[1])


def _problem_response(status: int, request_id: str) -> bytes:
    """Return a complete HTTP response, which closes the connection."""
    if status == 500:
        code, detail = Code.INTERNAL_ERROR, "Something went wrong on our side."
    else:
        code, detail = Code.BAD_REQUEST, "The request violates HTTP or exceeds its limits."
    title = HTTP_STATUS_CODES[status]
    problem = ProblemDetails(
        type="about:blank",
        title=title,
        status=status,
        code=code,
        detail=detail,
        request_id=request_id,
    )
    body = problem.model_dump_json().encode()
    headers = {
        **SECURITY_HEADERS,
        "Cache-Control": "no-store",
        "Connection": "close",
        "Content-Length": str(len(body)),
        "Content-Type": PROBLEM_JSON,
        REQUEST_ID_HEADER: request_id,
    }
    lines = [f"HTTP/1.1 {status} {title}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
