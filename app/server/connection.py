"""Client connection of the thread worker, read and written without blocking.

The worker's main thread collects a request here before a thread of the pool handles it, and sends
what is left of the response after that. gunicorn's parser reads the collected bytes and alone
decides what they mean; `RequestFraming` only finds where a request ends.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from typing import Any, Final

from gunicorn import http  # type: ignore[import-untyped]
from gunicorn.workers import gthread  # type: ignore[import-untyped]

READ_SIZE: Final = 256 * 1024
# A transfer may take this time, and a second more for each 8 KiB.
_GRACE_SECONDS: Final = 10.0
_MIN_BYTES_PER_SECOND: Final = 8 * 1024

# gunicorn's parser refuses a longer head.
_MAX_HEAD_BYTES: Final = 1024 * 1024
_MAX_CHUNK_LINE_BYTES: Final = 256
_MAX_TRAILER_BYTES: Final = 8 * 1024
# Parsing a chunk costs microseconds, however small it is. Clients send chunks of 8 KiB and more.
_MIN_MEAN_CHUNK_BYTES: Final = 256
_MAX_SMALL_CHUNKS: Final = 4096

_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.I)
_MAX_LENGTH_DIGITS: Final = 18  # enough to see that a body is too large
_TRANSFER_ENCODING: Final = re.compile(rb"\r\ntransfer-encoding:", re.I)
_EXPECT: Final = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.I)
_CHUNK_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,15}")


class ClientSocket(socket.socket):
    """Socket whose `sendall` does not wait: it keeps what the client does not take at once.

    It saves system calls. Each one releases the GIL, which a thread of a busy service gets back
    late.
    """

    def __init__(self, accepted: socket.socket) -> None:
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, protocol, accepted.detach())
        super().setblocking(False)
        self.unsent = bytearray()
        self._holds_next = False
        self._held = b""

    def setblocking(self, flag: bool, /) -> None:
        """Do nothing: gunicorn changes the mode twice per request, and no transfer waits."""

    def hold(self) -> None:
        """Keep the data of the next `sendall`, to send it together with that of the second."""
        self._holds_next = True

    def release(self) -> None:
        """Send held data that no second `sendall` followed."""
        self._holds_next = False
        if self._held and self.fileno() >= 0:
            self.sendall(b"")

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send what the kernel takes, and keep the rest in `unsent`."""
        if self._holds_next:
            self._holds_next, self._held = False, bytes(data)
            return
        rest = memoryview(self._held + data if self._held else data)
        self._held = b""
        if not self.unsent:
            rest = rest[self._send(rest) :]
        self.unsent += rest

    def send_rest(self) -> None:
        """Send what the kernel takes of `unsent`."""
        with memoryview(self.unsent) as rest:
            sent = self._send(rest)
        del self.unsent[:sent]

    def _send(self, data: memoryview) -> int:
        sent = 0
        with suppress(BlockingIOError):
            while sent < len(data):
                sent += self.send(data[sent:], socket.MSG_DONTWAIT)
        return sent


class RequestFraming:
    """Search for the end of one request in a growing buffer.

    Args:
        max_body_bytes: Size of the largest body to wait for.

    Attributes:
        expects_continue: True if the client waits for "100 Continue" before it sends the body.
        has_head: True if the request line and the headers are complete.
        is_whole: True if the whole request is in the buffer.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.expects_continue = False
        self.has_head = False
        self.is_whole = False
        self._max_body_bytes = max_body_bytes
        self._searched = 0
        self._is_chunked = False
        self._is_too_large = False
        # End of the request, or the start of the next chunk.
        self._next = 0
        self._chunks = 0
        self._body_bytes = 0

    def is_ready(self, received: bytearray) -> bool:
        """Return True if the request can be handled: it is whole, or will be refused anyway."""
        if not self.has_head:
            end = received.find(b"\r\n\r\n", self._searched)
            if end < 0:
                self._searched = max(0, len(received) - 3)
                return len(received) > _MAX_HEAD_BYTES
            self.has_head = True
            self._next = end + 4
            self._read_head(bytes(received[: end + 2]))
        if self._is_chunked:
            return self._find_last_chunk(received)
        is_ready = len(received) >= self._next
        self.is_whole = is_ready and not self._is_too_large
        return is_ready

    def _read_head(self, head: bytes) -> None:
        # HTTP/1.0 has no interim responses.
        is_http_1_0 = head.split(b"\r\n", 1)[0].endswith(b"HTTP/1.0")
        self.expects_continue = not is_http_1_0 and _EXPECT.search(head) is not None
        self._is_chunked = _TRANSFER_ENCODING.search(head) is not None
        length = _CONTENT_LENGTH.search(head)
        if length and not self._is_chunked:
            digits = length[1].lstrip(b"0")[:_MAX_LENGTH_DIGITS] or b"0"
            self._is_too_large = int(digits) > self._max_body_bytes
            if not self._is_too_large:
                self._next += int(digits)

    def _find_last_chunk(self, received: bytearray) -> bool:
        while self._next < len(received):
            line_end = received.find(b"\r\n", self._next, self._next + _MAX_CHUNK_LINE_BYTES)
            if line_end < 0:
                return len(received) - self._next >= _MAX_CHUNK_LINE_BYTES
            digits = _CHUNK_SIZE.match(received, self._next, line_end)
            if digits is None:
                return True
            if self._has_tiny_chunks():
                # gunicorn's parser takes the cut for the end of an incomplete body.
                del received[self._next :]
                return True
            size = int(digits[0], 16)
            if size == 0:
                self.is_whole = received.find(b"\r\n\r\n", line_end) >= 0
                return self.is_whole or len(received) - line_end > _MAX_TRAILER_BYTES
            self._chunks += 1
            self._body_bytes += size
            self._next = line_end + 2 + size + 2
            excess = self._body_bytes - self._max_body_bytes
            if excess > 0:
                # One byte above the limit shows the app that the body is too large.
                self._is_too_large, self._is_chunked = True, False
                self._next -= excess + 1
                return len(received) >= self._next
        return False

    def _has_tiny_chunks(self) -> bool:
        return self._chunks > _MAX_SMALL_CHUNKS + self._body_bytes // _MIN_MEAN_CHUNK_BYTES


class ClientConnection(gthread.TConn):  # type: ignore[misc]
    """Connection with the bytes it has received and the deadline of its client.

    Attributes:
        framing: State of the request that is being received.
        received: Bytes that gunicorn's parser has not taken yet.
        has_ended: True once the client has closed its sending side.
        is_finished: True once the last response is sent.
        deadline: When the worker gives up on the client, by `time.monotonic`.
        counted_bytes: Bytes that count towards the worker's limit.
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, ClientSocket(sock), client, server)
        self.framing = RequestFraming(0)
        self.received = bytearray()
        self.has_ended = False
        self.is_finished = False
        self.deadline = 0.0
        self.counted_bytes = 0
        self._started = 0.0
        self.parser = http.get_parser(cfg, self, client)
        self.initialized = True

    def recv(self, size: int) -> bytes:
        """Return up to `size` received bytes to gunicorn's parser, b"" if there are none."""
        if not self.received:
            # gunicorn finds a later end than `RequestFraming`: more of this request may come.
            self.framing.is_whole = False
        with memoryview(self.received) as received:
            data = bytes(received[:size])
        del self.received[: len(data)]
        return data

    @property
    def is_silent(self) -> bool:
        """True while the client has sent nothing of the next request."""
        return not (self.received or self.sock.unsent or self.is_finished)

    def take_back(self) -> None:
        """Take back the bytes that gunicorn's parser has read ahead of the next request."""
        self.received[:0] = self.parser.unreader.take_buffered()

    def start_request(self, max_body_bytes: int) -> None:
        """Begin to receive a request."""
        self.framing = RequestFraming(max_body_bytes)
        self._started = time.monotonic()
        self.deadline = self._started + _GRACE_SECONDS

    def receive(self) -> None:
        """Take what has arrived.

        Raises:
            OSError: The connection is broken.
        """
        try:
            data = self.sock.recv(READ_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        self.has_ended = not data
        self.received += data
        self.deadline = self._started + transfer_seconds(len(self.received))


def transfer_seconds(size: int) -> float:
    """Return how long the transfer of `size` bytes may take."""
    return _GRACE_SECONDS + size / _MIN_BYTES_PER_SECOND
