"""Structural checks against files that cost a decoder minutes.

Pillow reads the parts of a file one by one in Python while holding the GIL. No encoder writes
hundreds of thousands of parts, but a few megabytes can hold them.
"""

from __future__ import annotations

import io
import re
from typing import Final

# The largest photo needs some 16,000 reads; more than these, in Python, would take most of a
# second.
_MAX_READS: Final = 300_000

# Encoders write ten scans or so. A 100 kB file can hold thousands, and each costs a pass over all
# pixels: hours for one upload.
_MAX_JPEG_SCANS: Final = 64
# 32 MiB of metadata fill 512.
_MAX_JPEG_SEGMENTS: Final = 4096
# EXIF in more than one segment is rare, and joined in time that grows with the square of their
# number.
_MAX_JPEG_EXIF_SEGMENTS: Final = 16
# A marker that may have a length behind it: neither stuffing, padding, a restart nor start of file.
_JPEG_MARKER: Final = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_JPEG_SIGNATURE: Final = b"\xff\xd8\xff"
_JPEG_END, _JPEG_SCAN, _JPEG_EXIF = b"\xd9", b"\xda", b"\xe1"
# Of these, too, Pillow reads no length; an end before the first scan ends nothing for it.
_JPEG_BARE: Final = frozenset(bytes([code]) for code in (0xC8, 0xD9, *range(0xF0, 0xFE)))

_PNG_SIGNATURE: Final = b"\x89PNG"
# Each may unpack to a mebibyte, and is then thrown away.
_PNG_PACKED_CHUNKS: Final = (b"zTXt", b"iTXt", b"iCCP")
_MAX_PNG_PACKED_CHUNKS: Final = 64

# The entry of EXIF in an AVIF's list of items, up to its type.
_AVIF_EXIF_ITEM: Final = re.compile(rb"(infe[\x02\x03].{7,9})Exif", re.DOTALL)


class OddStructureError(Exception):
    """A file built as no encoder builds one; the message says how, and completes a sentence."""


class MeteredFile(io.BytesIO):
    """A file's bytes, to be read in a bounded number of pieces."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does.

        Raises:
            OddStructureError: It was read in too many pieces.
        """
        self._reads += 1
        if self._reads > _MAX_READS:
            raise OddStructureError("made of too many small parts")
        return super().read(size)


def check_structure(data: bytes) -> int:
    """Refuse what costs time even where `MeteredFile` bounds the number of pieces.

    Returns:
        The number of passes that a JPEG is stored in; 1 for other formats.

    Raises:
        OddStructureError: The file is built to cost time.
    """
    if data.startswith(_JPEG_SIGNATURE):
        return _jpeg_scans(data)
    if data.startswith(_PNG_SIGNATURE):
        packed = sum(map(data.count, _PNG_PACKED_CHUNKS))
        if packed > _MAX_PNG_PACKED_CHUNKS:
            raise OddStructureError(
                f"stored with {packed:,} packed texts or profiles; the limit is "
                f"{_MAX_PNG_PACKED_CHUNKS}"
            )
    return 1


def without_avif_exif(data: bytes) -> bytes:
    """Return an AVIF whose EXIF is not found; how it is turned stands elsewhere in the file."""
    return _AVIF_EXIF_ITEM.sub(rb"\1skip", data)


def _jpeg_scans(data: bytes) -> int:
    scans = segments = exif = 0
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        if marker[1] == _JPEG_END and scans:
            break
        position = marker.end()
        if marker[1] not in _JPEG_BARE:
            position += int.from_bytes(data[position : position + 2], "big")
        segments += 1
        scans += marker[1] == _JPEG_SCAN
        exif += marker[1] == _JPEG_EXIF and data.startswith(b"Exif", marker.end() + 2)
        if segments > _MAX_JPEG_SEGMENTS:
            raise OddStructureError(f"stored in more than {_MAX_JPEG_SEGMENTS:,} segments")
        if exif > _MAX_JPEG_EXIF_SEGMENTS:
            raise OddStructureError(f"stored with more than {_MAX_JPEG_EXIF_SEGMENTS} EXIF blocks")
    if scans > _MAX_JPEG_SCANS:
        raise OddStructureError(f"stored in {scans:,} passes; the limit is {_MAX_JPEG_SCANS}")
    return scans
