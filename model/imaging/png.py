"""Removal of the PNG chunks that do not affect the still image.

Pillow refuses a file for one broken text or animation chunk, and unpacks every text. As in libpng,
a broken ancillary chunk is ignored here. Reference: PNG specification, sections 5 and 11.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from PIL.PngImagePlugin import MAX_TEXT_CHUNK

from model.imaging.decode_guard import OddStructureError

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# The largest photo in chunks of 8 KiB, as libpng writes them, has 4,096.
_MAX_CHUNKS: Final = 65_536
# Texts in which editors store the orientation.
_KEPT_TEXTS: Final = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
# Least length of a transparent color, by the color type in the header.
_TRANSPARENCY_LENGTHS: Final = {0: 2, 2: 6, 3: 1}
_COLOR_TYPE_AT: Final = 25
_ANCILLARY: Final = 0x20  # bit of the first letter of the type


@dataclass(frozen=True)
class _Chunk:
    """A chunk's type, and where it starts and ends in the file."""

    kind: bytes
    start: int
    end: int


def without_ancillary_chunks(data: bytes) -> bytes:
    """Return a PNG without texts, animation and broken ancillary chunks.

    Transparency, color profile and orientation stay. A truncated chunk and all after it stay too,
    so that a decoder reports them.

    Args:
        data: A file that starts with `SIGNATURE`.

    Raises:
        OddStructureError: There are too many chunks, or a chunk of pixels has a wrong checksum,
            which Pillow does not check: a file padded with zeros would decode to noise.
    """
    parts: list[bytes] = []
    seen: set[bytes] = set()
    copied = 0
    for chunk in _chunks(data):
        if chunk.kind == b"IDAT" and not _is_sound(data, chunk):
            raise OddStructureError("damaged: the checksum of its pixels is wrong")
        if not _is_kept(data, chunk, seen):
            parts.append(data[copied : chunk.start])
            copied = chunk.end
    return b"".join((*parts, data[copied:])) if parts else data


def unsupported_kind(data: bytes) -> str | None:
    """Return a description of a kind of PNG that Pillow cannot decode, or None."""
    return "a PNG converted for iOS apps" if data[12:16] == b"CgBI" else None


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield the chunks up to the end of the image or the first one that is cut."""
    start = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        kind = data[start + 4 : start + 8]
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data) or not kind.isalpha():
            return
        yield _Chunk(kind, start, end)
        if kind == b"IEND":
            return
        start = end
    raise OddStructureError(f"stored in more than {_MAX_CHUNKS:,} chunks")


def _is_sound(data: bytes, chunk: _Chunk) -> bool:
    checksum = int.from_bytes(data[chunk.end - 4 : chunk.end], "big")
    return zlib.crc32(memoryview(data)[chunk.start + 4 : chunk.end - 4]) == checksum


def _is_kept(data: bytes, chunk: _Chunk, seen: set[bytes]) -> bool:
    """Return True for a critical chunk, and for the first sound one of each that is used.

    It must not unpack to more than Pillow's limit, either.
    """
    if not chunk.kind[0] & _ANCILLARY:
        return True
    body = data[chunk.start + 8 : chunk.end - 4]
    name, _, rest = body.partition(b"\0")
    if chunk.kind == b"tRNS":
        known = len(body) >= _TRANSPARENCY_LENGTHS.get(data[_COLOR_TYPE_AT], len(body) + 1)
    elif chunk.kind in (b"iCCP", b"zTXt"):
        # The byte is the compression method.
        known = rest[:1] == b"\0" and (chunk.kind == b"iCCP" or body.startswith(_KEPT_TEXTS))
    else:
        known = chunk.kind == b"eXIf" or (
            chunk.kind in (b"tEXt", b"iTXt") and body.startswith(_KEPT_TEXTS)
        )
    key = name if chunk.kind.endswith(b"Xt") else chunk.kind
    if not known or key in seen:
        return False
    if not _is_sound(data, chunk):
        return False
    # Even if it is too large: unpacking one after the other would take minutes.
    seen.add(key)
    return not _is_too_large(_packed(chunk.kind, rest))


def _packed(kind: bytes, rest: bytes) -> bytes:
    """Return the compressed data of a chunk, from what follows its name; b"" if it has none."""
    if kind in (b"iCCP", b"zTXt"):
        return rest[1:]
    if kind == b"iTXt" and rest[:1] != b"\0":
        return rest[2:].split(b"\0", 2)[-1]  # after the language and the translated name
    return b""


def _is_too_large(packed: bytes) -> bool:
    """Return True if data unpacks to more than Pillow accepts of a text or a color profile."""
    decompressor = zlib.decompressobj()
    try:
        decompressor.decompress(packed, MAX_TEXT_CHUNK)
    except zlib.error:
        return False  # Pillow ignores it
    return bool(decompressor.unconsumed_tail)
