"""A gunicorn thread worker whose threads never wait for a client.

gunicorn's own thread worker reads requests and writes responses in its thread pool, and closes
connections on its accept thread. A few slow or idle clients occupy all of these threads. This
worker leaves the waiting to the poller of its main thread: a request goes to the pool once it is
whole, and the poller sends what a client does not take at once. The worker limits the bytes it
holds, survives a lack of file descriptors, and answers malformed requests with a problem (RFC 9457)
instead of gunicorn's HTML page.
"""

from __future__ import annotations

import errno
import math
import resource
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final
from uuid import uuid4

import gunicorn  # type: ignore[import-untyped]
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from gunicorn.workers import gthread  # type: ignore[import-untyped]

from app.context import context_of
from app.http.request_body import READ_AHEAD_BYTES
from app.photo_limits import MAX_HELD_BODIES
from app.server.connection import READ_SIZE, ClientConnection, transfer_seconds
from app.server.refusals import CapturedResponse, problem_response

# The subclass overrides methods that gunicorn does not document.
# test_idle_connections.py and test_slow_clients.py in tests/adversarial/timed show whether a new
# version still fits.
_GUNICORN_MAJOR: Final = 27

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINGER_SECONDS: Final = 2.0
_SWEEP_SECONDS: Final = 0.5
_HEARTBEAT_SECONDS: Final = 1.0
# Without a pause, the accept loop spins until another connection closes.
_ACCEPT_RETRY_SECONDS: Final = 0.02
# At a shutdown, uploads may take this part of the time; the rest is for photos being classified.
_UPLOAD_SHARE: Final = 0.75

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


def max_connections(descriptor_limit: int) -> int:
    """Return how many connections fit below the limit of open files.

    Args:
        descriptor_limit: Open files allowed, or `resource.RLIM_INFINITY`.
    """
    if descriptor_limit == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(_MIN_CONNECTIONS, min(descriptor_limit - _OTHER_DESCRIPTORS, _MAX_CONNECTIONS))


_Proceed = Callable[[ClientConnection], None]


class ThreadWorker(gthread.ThreadWorker):  # type: ignore[misc]
    """gunicorn's thread worker with non-blocking connections.

    A connection is either handled by a thread of the pool, idle between requests (gunicorn's
    `keepalived_conns`), or waiting: for the rest of a request, for the client to take the rest of
    a response, or for the client to close a finished connection.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # What to do on an event, oldest connection first.
        self._waiting: dict[ClientConnection, _Proceed] = {}
        self._held_bytes = 0
        self._max_body_bytes = 0
        self._next_sweep = 0.0
        self._next_heartbeat = 0.0
        self._upload_end = math.inf  # when a stopping worker ends uploads, by `time.monotonic`

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse a gunicorn whose internals may differ, and TLS, which belongs to the proxy."""
        if gunicorn.version_info[0] != _GUNICORN_MAJOR:
            raise SystemExit(
                f"petalscope: app.server.worker needs gunicorn {_GUNICORN_MAJOR}, and "
                f"{gunicorn.__version__} is installed. Install the version in requirements.txt."
            )
        if cfg.is_ssl:
            raise SystemExit("petalscope: The service speaks no TLS. Use a reverse proxy for it.")
        super().check_config(cfg, log)

    def load_wsgi(self) -> None:
        """Load the app, and read its limit for bodies."""
        super().load_wsgi()
        self._max_body_bytes = context_of(self.wsgi).settings.max_body_bytes

    def notify(self) -> None:
        """Tell the master that the worker is alive, not after each event but once a second."""
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + _HEARTBEAT_SECONDS
            super().notify()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Handle SIGTERM: begin the shutdown."""
        if self.alive:
            self._upload_end = time.monotonic() + _UPLOAD_SHARE * self.cfg.graceful_timeout
        super().handle_exit(sig, frame)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events; a stopping worker wakes up in time to end uploads."""
        super().wait_for_and_dispatch_events(
            timeout if self.alive else min(timeout, _SWEEP_SECONDS)
        )

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, or leave it in the backlog while no descriptor is free."""
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(_ACCEPT_RETRY_SECONDS)
            elif error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED):
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._close_idlest()
        self._receive(ClientConnection(self.cfg, accepted, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: ClientConnection, client: socket.socket) -> None:
        """Receive the next request of an idle connection."""
        # An earlier event of the same poll may have closed it.
        if conn not in self.keepalived_conns:
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._receive(conn)

    def handle_request(self, req: Any, conn: ClientConnection) -> Any:
        """Handle a request in a thread of the pool."""
        # The main thread has already sent "100 Continue".
        req._expected_100_continue = False
        if not conn.framing.is_whole:
            req.force_close()
        # gunicorn writes the head of the response, and then its body.
        conn.sock.hold()
        try:
            return super().handle_request(req, conn)
        finally:
            conn.sock.release()

    def _keepalive_after(self, conn: ClientConnection, keepalive: bool) -> bool:
        """Return True if the connection can be reused; skip what the app left of the body."""
        if not keepalive:
            return False
        with suppress(ParseException, OSError):
            while conn.parser.mesg.body.read(READ_SIZE):
                pass
        return conn.framing.is_whole and not conn.parser.mesg.body.failed

    def finish_request(self, conn: ClientConnection, fs: Future[Any]) -> None:
        """Send the rest of a response. The main thread calls this once a request was handled."""
        if fs.cancelled() or fs.exception() is not None:
            self._close(conn)
            return
        conn.take_back()
        self._count(conn)
        if conn.sock.unsent:
            conn.deadline = time.monotonic() + transfer_seconds(len(conn.sock.unsent))
            self._wait(conn, selectors.EVENT_WRITE, partial(self._on_writable, fs))
        else:
            self._after_response(conn, fs)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer a request that gunicorn refuses, usually because it violates HTTP."""
        refusal = CapturedResponse()
        super().handle_error(req, refusal, addr, exc)  # logs the cause and chooses the status
        request_id = uuid4().hex
        self.log.warning("The refused request has the ID %s", request_id)
        # The client may be gone.
        with suppress(OSError):
            client.sendall(problem_response(refusal.status, request_id, self.cfg))

    def murder_pending(self) -> None:
        """Close connections whose time is up. The main loop calls this after each event."""
        now = time.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP_SECONDS
        ends_uploads = now >= self._upload_end
        if ends_uploads:
            # Their photos get 503.
            context_of(self.wsgi).batcher.refuse()
        for conn in list(self._waiting):
            is_upload = not (conn.is_finished or conn.sock.unsent)
            is_ended = (ends_uploads and is_upload) or (conn.is_silent and not self.alive)
            if is_ended or conn.deadline <= now:
                self._give_up(conn)

    def _receive(self, conn: ClientConnection) -> None:
        """Begin a request; part of it may have come with the last one."""
        # The form parser reads ahead before it sees that a chunked body is too large.
        conn.start_request(self._max_body_bytes + READ_AHEAD_BYTES)
        if conn.framing.is_ready(conn.received):
            self.enqueue_req(conn)
            return
        # Most requests have already arrived, and the poller costs system calls.
        if self._advance(conn):
            self._wait(conn, selectors.EVENT_READ, self._on_readable)

    def _on_readable(self, conn: ClientConnection) -> None:
        self._advance(conn)

    def _advance(self, conn: ClientConnection) -> bool:
        """Take what has arrived of a request; return True if more of it must come."""
        try:
            conn.receive()
        except OSError:
            self._close(conn)
            return False
        if not self._count(conn):
            return False
        if conn.framing.is_ready(conn.received) or (conn.has_ended and conn.received):
            self._stop_waiting(conn)
            self.enqueue_req(conn)
            return False
        if conn.has_ended:
            self._close(conn)
            return False
        if conn.framing.expects_continue:
            conn.framing.expects_continue = False
            # A broken connection shows at the next read.
            with suppress(OSError):
                conn.sock.sendall(_CONTINUE)
        return True

    def _on_writable(self, fs: Future[Any], conn: ClientConnection) -> None:
        try:
            conn.sock.send_rest()
        except OSError:
            self._close(conn)
            return
        if self._count(conn) and not conn.sock.unsent:
            self._stop_waiting(conn)
            self._after_response(conn, fs)

    def _after_response(self, conn: ClientConnection, fs: Future[Any]) -> None:
        if not fs.result():
            self._linger(conn)
        elif conn.received:
            self._receive(conn)
        else:
            super().finish_request(conn, fs)

    def _linger(self, conn: ClientConnection) -> None:
        """Close a connection once its client has closed it.

        Closing at once would reset the connection if the client has sent more than was read, and
        the client could lose the response (RFC 9112, section 9.6).
        """
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        conn.deadline = time.monotonic() + _LINGER_SECONDS
        conn.is_finished = True
        self._wait(conn, selectors.EVENT_READ, self._discard)

    def _discard(self, conn: ClientConnection) -> None:
        try:
            if conn.sock.recv(READ_SIZE, socket.MSG_DONTWAIT):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(conn)

    def _give_up(self, conn: ClientConnection) -> None:
        """Refuse an incomplete body, by letting the app find its end; close anything else."""
        if conn.is_finished or conn.sock.unsent or not conn.framing.has_head:
            self._close(conn)
        else:
            self._stop_waiting(conn)
            self.enqueue_req(conn)

    def _wait(self, conn: ClientConnection, events: int, proceed: _Proceed) -> None:
        """Call `proceed` whenever the poller reports one of `events` for the connection."""

        def on_event(_: socket.socket) -> None:
            # An earlier event of the same poll may have ended the wait.
            if self._waiting.get(conn) is proceed:
                proceed(conn)

        try:
            self.poller.register(conn.sock, events, on_event)
        except (OSError, ValueError, KeyError):
            self._close(conn)
            return
        self._waiting[conn] = proceed
        # Leave room for new connections, however many clients are slow or never close theirs.
        if len(self._waiting) > self.worker_connections // 2:
            self._give_up(
                next((other for other in self._waiting if other.is_finished), None)
                or next(iter(self._waiting))
            )

    def _stop_waiting(self, conn: ClientConnection) -> None:
        if conn in self._waiting:
            del self._waiting[conn]
            self.poller.unregister(conn.sock)

    def _close(self, conn: ClientConnection) -> None:
        self._stop_waiting(conn)
        self.nr_conns -= 1
        self._held_bytes -= conn.counted_bytes
        conn.close()

    def _close_idlest(self) -> None:
        """Close the connection that has been idle longest, so that another can be accepted."""
        if self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self._close(conn)

    def _count(self, conn: ClientConnection) -> bool:
        """Count the bytes that a connection holds. Above the limit, give up on the oldest one.

        Return False if that was this connection.
        """
        size = len(conn.received) + len(conn.sock.unsent)
        self._held_bytes += size - conn.counted_bytes
        conn.counted_bytes = size
        if self._held_bytes <= MAX_HELD_BODIES * self._max_body_bytes:
            return True
        oldest = next((one for one in self._waiting if one.counted_bytes >= READ_SIZE), None)
        if oldest is not None:
            self._give_up(oldest)
        return oldest is not conn
