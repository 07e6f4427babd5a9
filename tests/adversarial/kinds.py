"""What a hostile upload is made of: drawn photos, the parts of files, requests as they are sent."""

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

TAKEN: Final = frozenset({200})
REFUSED: Final = frozenset({400, 413, 415, 422})
EITHER: Final = TAKEN | REFUSED
DAMAGED: Final = frozenset({422})
LARGE: Final = frozenset({413})
FOREIGN: Final = frozenset({415})
SMALL: Final = frozenset({422})
# For a request that breaks the rules of HTTP, the connection may be closed without an answer.
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
class Kind:
    """One kind of request.

    Attributes:
        name: What is wrong or odd about it.
        request: Makes the bytes that are sent, from the method on.
        allowed: Statuses that it may be answered with; `CLOSED` for none.
        as_page: Whether the answer may be HTML: where gunicorn gives it itself, before the app
            hears of the request, or where a page was asked for.
    """

    name: str
    request: Callable[[], bytes]
    allowed: frozenset[int]
    as_page: bool = False


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
    """Build a request; `length` is told in place of the true one, or not at all where it is None.

    The connection is to be closed after the answer, so that its end is seen.
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
) -> Kind:
    """Build the kind of request whose body is a file."""
    return Kind(name, lambda: post(data if isinstance(data, bytes) else data(), kind), allowed)


def png_chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks: bytes) -> bytes:
    """Return a PNG with more chunks, right behind its header."""
    data = file("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def segment(marker: int, body: bytes = b"") -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(*parts: bytes) -> bytes:
    """Return a JPEG with more segments, right behind its start."""
    data = file("JPEG")
    return data[:2] + b"".join(parts) + data[2:]


def gif_with(*blocks: bytes) -> bytes:
    """Return a GIF with more blocks, right behind its palette."""
    data = file("GIF")
    at = 13 + (3 << (data[10] & 7) + 1)
    return data[:at] + b"".join(blocks) + data[at:]


def tiff(*entries: bytes, count: int | None = None, start: int = 8) -> bytes:
    """Return an EXIF block without its name: a TIFF header and one list of 12-byte entries."""
    number = len(entries) if count is None else count
    return b"II*\0" + struct.pack("<IH", start, number) + b"".join(entries) + bytes(4)


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def run_lengths(width: int, height: int, body: bytes) -> bytes:
    """Return a BMP in run lengths of 8 bits; all but its palette is as given."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    palette = bytes(range(256)) * 4
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + palette + body


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
