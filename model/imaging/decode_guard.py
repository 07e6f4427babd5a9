"""Structural checks against files that cost a decoder minutes.

Pillow reads the parts of a file one by one in Python while holding the GIL. No encoder writes
hundreds of thousands of parts, but a few megabytes can hold them.
"""

from __future__ import annotations

import io
import re
from typing import Final

# The largest photo needs about 16,000 reads; 300,000 take most of a second.
_MAX_READS: Final = 300_000

# Encoders write about ten scans. A 100 kB file can hold thousands, and each is a pass over all
# pixels: hours for one upload.
_MAX_JPEG_SCANS: Final = 64
# 32 MiB of metadata fill 512 segments.
_MAX_JPEG_SEGMENTS: Final = 4096
# EXIF in several segments is rare, and Pillow joins them in quadratic time.
_MAX_JPEG_EXIF_SEGMENTS: Final = 16
# A marker that a length may follow: not stuffing, padding, a restart or the start of the file.
_JPEG_MARKER: Final = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_JPEG_SIGNATURE: Final = b"\xff\xd8\xff"
_JPEG_END, _JPEG_SCAN, _JPEG_EXIF = b"\xd9", b"\xda", b"\xe1"
# Pillow reads no length after these markers, and ignores an end marker before the first scan.
_JPEG_BARE: Final = frozenset(bytes([code]) for code in (0xC8, 0xD9, *range(0xF0, 0xFE)))

_PNG_SIGNATURE: Final = b"\x89PNG"
# Each may decompress to 1 MiB, which is then discarded.
_PNG_PACKED_CHUNKS: Final = (b"zTXt", b"iTXt", b"iCCP")
_MAX_PNG_PACKED_CHUNKS: Final = 64

# Entry of the EXIF block in an AVIF's item list, up to its type.
_AVIF_EXIF_ITEM: Final = re.compile(rb"(infe[\x02\x03].{7,9})Exif", re.DOTALL)


class OddStructureError(Exception):
    """A file with a structure that no encoder writes; the message completes "The image is …"."""


class MeteredFile(io.BytesIO):
    """An in-memory file that limits the number of reads."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes; all that remain if it is negative or None.

        Raises:
            OddStructureError: The limit of reads is exceeded.
        """
        self._reads += 1
        if self._reads > _MAX_READS:
            raise OddStructureError("made of too many small parts")
        return super().read(size)


def check_structure(data: bytes) -> int:
    """Check a file for structures that cost time even within the limit of `MeteredFile`.

    Args:
        data: The file.

    Returns:
        The number of scans of a JPEG; 1 for other formats.

    Raises:
        OddStructureError: A JPEG has too many scans, segments or EXIF blocks, or a PNG has too
            many compressed text chunks.
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
    """Return an AVIF with its EXIF block renamed, so that it is not parsed.

    The orientation is unaffected: an AVIF stores it in a separate property.
    """
    return _AVIF_EXIF_ITEM.sub(rb"\1skip", data)


def _jpeg_scans(data: bytes) -> int:
    """Count the scans, and check the numbers of segments and EXIF blocks."""
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
