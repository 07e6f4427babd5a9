"""A web server for tests that gives one file, well or badly, and remembers what it was asked."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Gives `files[path]`; what else it does is set by its attributes, at any time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.etag: str | None = '"one"'
        self.last_modified: str | None = None
        self.ranges = True
        self.heeds_if_range = True
        self.announces_length = True
        # One entry a request: close the connection after so many bytes of the body.
        self.cuts: list[int] = []
        # One entry a request: answer with this status and no file.
        self.failures: list[int] = []
        # Where to stop in the body until `go_on` is set.
        self.pause_after: int | None = None
        self.go_on = threading.Event()
        # The Range header of each request, None where there was none.
        self.asked: list[str | None] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up, which the tests do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def url(self, path: str = "/flower_data.zip") -> str:
        """The address of `path` on this server."""
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if server.failures:
            self.send_error(server.failures.pop(0))
        elif self.path not in server.files:
            self.send_error(404)
        else:
            self._send(server.files[self.path])

    def _send(self, content: bytes) -> None:
        server = self.server
        start = self._start()
        if start is not None and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        body = content[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.last_modified:
            self.send_header("Last-Modified", server.last_modified)
        if server.announces_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        if server.pause_after is not None:
            self.wfile.write(body[: server.pause_after])
            server.go_on.wait(60)
            body = body[server.pause_after :]
        self.wfile.write(body)

    def _start(self) -> int | None:
        """The first byte to send when the request is for a part that may be given."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not self.server.ranges or match is None:
            return None
        condition = self.headers.get("If-Range")
        current = (self.server.etag, self.server.last_modified)
        if self.server.heeds_if_range and condition not in current:
            return None
        return int(match[1])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the tests' output clean."""


@contextmanager
def running_file_server() -> Iterator[FileServer]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()
