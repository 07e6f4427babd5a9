"""Building blocks of adversarial requests: images, file chunks and raw HTTP."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from PIL import Image

from tests.conftest import flower_image
from tests.model.imaging.test_decode import encode

ACCEPTED: Final = frozenset({200})
REFUSED: Final = frozenset({400, 413, 415, 422})
EITHER: Final = ACCEPTED | REFUSED
DAMAGED: Final = frozenset({422})
LARGE: Final = frozenset({413})
UNSUPPORTED: Final = frozenset({415})
SMALL: Final = frozenset({422})
# A connection closed without a response, which HTTP allows after a malformed request.
CLOSED: Final = 0

FORMATS: Final[dict[str, dict[str, Any]]] = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {},
    "GIF": {},
    "AVIF": {"speed": 10},
    "BMP": {},
}
SIDE: Final = 64
KIB, MIB = 1024, 1024 * 1024
NOISE: Final = np.random.default_rng(0).bytes(MIB)


@dataclass(frozen=True)
class Case:
    """An adversarial request and its allowed responses.

    Attributes:
        name: Test ID.
        request: Returns the raw bytes of the request.
        allowed: Allowed status codes; `CLOSED` for no response.
        html_allowed: True if gunicorn may respond itself, or if the client accepts HTML.
    """

    name: str
    request: Callable[[], bytes]
    allowed: frozenset[int]
    html_allowed: bool = False


def photo(mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE), seed: int = 0) -> Image.Image:
    return flower_image(size, seed).convert(mode)


@cache
def file(format_name: str, mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    return encode(photo(mode, size), format_name, **FORMATS.get(format_name, {}))


def post(
    body: bytes,
    content_type: str | bytes | None = "image/jpeg",
    *,
    method: str = "POST",
    target: str | bytes = "/predict",
    headers: Iterable[str | bytes] = (),
    length: str | int | None = -1,
    version: str = "HTTP/1.1",
) -> bytes:
    """Build a raw request with `Connection: close`.

    Args:
        body: Request body.
        content_type: Content-Type header; None omits it.
        method: HTTP method.
        target: Request target.
        headers: Further header lines.
        length: Content-Length header; -1 for the true length, None omits it.
        version: HTTP version.
    """
    lines: list[str | bytes] = ["Host: localhost", "Connection: close"]
    if content_type is not None:
        lines.append(b"Content-Type: " + _bytes(content_type))
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    start = b" ".join((method.encode(), _bytes(target), version.encode()))
    return b"\r\n".join((start, *map(_bytes, (*lines, *headers)), b"", body))


def upload(
    name: str, data: bytes | Callable[[], bytes], allowed: frozenset[int], kind: str = "image/jpeg"
) -> Case:
    """Build the case of a request whose body is a file."""
    return Case(name, lambda: post(data if isinstance(data, bytes) else data(), kind), allowed)


def png_chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks: bytes) -> bytes:
    """Return a PNG with chunks inserted after its header."""
    data = file("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def segment(marker: int, body: bytes = b"") -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(*parts: bytes) -> bytes:
    """Return a JPEG with segments inserted after its SOI marker."""
    data = file("JPEG")
    return data[:2] + b"".join(parts) + data[2:]


def gif_with(*blocks: bytes) -> bytes:
    """Return a GIF with blocks inserted after its palette."""
    data = file("GIF")
    at = 13 + (3 << (data[10] & 7) + 1)
    return data[:at] + b"".join(blocks) + data[at:]


def tiff(*entries: bytes, count: int | None = None, start: int = 8) -> bytes:
    """Return a TIFF header and one IFD of 12-byte entries: EXIF without its prefix."""
    number = len(entries) if count is None else count
    return b"II*\0" + struct.pack("<IH", start, number) + b"".join(entries) + bytes(4)


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def run_lengths(width: int, height: int, body: bytes) -> bytes:
    """Return an 8-bit run-length encoded BMP with the given pixel data."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    palette = bytes(range(256)) * 4
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + palette + body


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
