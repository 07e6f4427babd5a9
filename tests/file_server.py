"""A web server for tests that serves files from memory and can fail on request."""

from __future__ import annotations

import mimetypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """A server of `files`; its attributes may change at any time.

    Attributes:
        files: Map from a path to its content.
        failing: Paths that get 500.
        headers: Headers of each response.
        requests: Path of each request so far.
        sends_length: False leaves Content-Length out.
        cut_after: Bytes of the body after which the connection is closed; None sends all.
        pause_after: Bytes of the body after which the server waits for `resume`; None never waits.
        resume: Ends the wait.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.failing: set[str] = set()
        self.headers: dict[str, str] = {}
        self.requests: list[str] = []
        self.sends_length = True
        self.cut_after: int | None = None
        self.pause_after: int | None = None
        self.resume = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that close the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def url(self, path: str = "/flower_data.zip") -> str:
        """Return the address of `path` on this server."""
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    """Responses from the files of the server."""

    server: FileServer

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(self.path)
        if self.path in server.failing:
            self.send_error(500)
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        body = server.files[self.path]
        self.send_response(200)
        if media_type := mimetypes.guess_type(self.path)[0]:
            self.send_header("Content-Type", media_type)  # browsers run no script without it
        for name, value in server.headers.items():
            self.send_header(name, value)
        if server.sends_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[: server.cut_after]
        if server.pause_after is not None:
            self.wfile.write(body[: server.pause_after])
            server.resume.wait(60)
            body = body[server.pause_after :]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write no access log."""


@contextmanager
def running_file_server() -> Iterator[FileServer]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.resume.set()
            server.shutdown()
            thread.join()
