"""Structure of a JPEG, read from its marker segments before a decoder sees the file.

References: ITU-T T.81, annex B (markers), annex G (progressive mode).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from model.imaging.decode_guard import OddStructureError

SIGNATURE: Final = b"\xff\xd8\xff"

# Encoders write about ten scans. A 100 kB file can hold thousands, and each is a pass over all
# pixels: hours for one upload.
_MAX_SCANS: Final = 64
# 32 MiB of metadata fill 512 segments.
_MAX_SEGMENTS: Final = 4096
# EXIF in several segments is rare, and Pillow joins them in quadratic time.
_MAX_EXIF_SEGMENTS: Final = 16
# A marker that a length may follow: not stuffing, padding, a restart or the start of the file.
_MARKER: Final = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_END, _SCAN, _EXIF = 0xD9, 0xDA, 0xE1
# Pillow reads no length after these markers, and ignores an end marker before the first scan.
_BARE: Final = frozenset((0xC8, _END, *range(0xF0, 0xFE)))
_JPEG_LS_FRAME: Final = 0xF7
_FRAMES: Final = frozenset((*range(0xC0, 0xD0), _JPEG_LS_FRAME)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE_FRAMES: Final = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_LOSSLESS_FRAMES: Final = frozenset((0xC3, 0xC7, 0xCB, 0xCF, _JPEG_LS_FRAME))
_HIERARCHICAL_FRAMES: Final = frozenset((0xC5, 0xC6, 0xCD, 0xCE))
_BLOCK_COEFFICIENTS: Final = 64

_END_MARKER: Final = b"\xff\xd9"
_NOISE: Final = bytes(range(0xA5, 0xFF)) + bytes(range(1, 0xA5))
# Entropy-coded data that continues a scan at any point, also at a restart marker.
_CONTINUATION: Final = _NOISE + b"".join(b"\xff" + bytes([0xD0 + n]) + _NOISE for n in range(8))


@dataclass
class JpegStructure:
    """Marker segments of a JPEG.

    Attributes:
        frames: Frame headers (SOF) as marker code and body.
        scans: Bodies of the scan headers (SOS).
        has_end: True if an end marker follows the first scan.
    """

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    scans: list[bytes] = field(default_factory=list)
    has_end: bool = False

    @property
    def is_buffered(self) -> bool:
        """True if libjpeg keeps the coefficients of the whole image: several scans are needed."""
        return len(self.scans) > 1 or any(
            code in _PROGRESSIVE_FRAMES or (self.scans and self.scans[0][:1] != body[5:6])
            for code, body in self.frames
        )

    @property
    def coefficients_per_pixel(self) -> float:
        """Coefficients per pixel: 1 for grayscale, 1.5 for 4:2:0, 3 for 4:4:4, at most 4."""
        return max((_coefficients_per_pixel(body) for _, body in self.frames), default=3.0)

    @property
    def has_every_coefficient(self) -> bool:
        """True if the scans refine each coefficient of each component to its last bit."""
        sent: set[tuple[int, int]] = set()
        for scan in self.scans:
            count = scan[0] if scan else 0
            parameters = scan[1 + 2 * count : 4 + 2 * count]
            if len(parameters) == 3 and parameters[2] & 15 == 0:
                places = range(parameters[0], min(parameters[1] + 1, _BLOCK_COEFFICIENTS))
                sent.update((at, place) for at in scan[1 : 1 + 2 * count : 2] for place in places)
        return len(self.frames) == 1 and all(
            (at, place) in sent
            for at in self.frames[0][1][6::3]
            for place in range(_BLOCK_COEFFICIENTS)
        )

    @property
    def unsupported_kind(self) -> str | None:
        """Description of a valid kind of JPEG that Pillow cannot decode, or None."""
        for code, body in self.frames:
            if code in _LOSSLESS_FRAMES:
                return "a lossless JPEG"
            if code in _HIERARCHICAL_FRAMES:
                return "a hierarchical JPEG"
            if body and body[0] > 8:
                return f"a JPEG of {body[0]} bits per channel"
        return None


def read_structure(data: bytes) -> JpegStructure:
    """Read the structure of a file that starts with `SIGNATURE`.

    Raises:
        OddStructureError: There are too many scans, segments or EXIF blocks.
    """
    found = JpegStructure()
    segments = exif = 0
    position = 2
    while marker := _MARKER.search(data, position):
        code = marker[1][0]
        if code == _END and found.scans:
            found.has_end = True
            break
        position = start = marker.end()
        end = start + int.from_bytes(data[start : start + 2], "big")
        if code not in _BARE:
            position = end
        if code == _SCAN:
            found.scans.append(data[start + 2 : end])
        elif code in _FRAMES:
            found.frames.append((code, data[start + 2 : end]))
        segments += 1
        exif += code == _EXIF and data.startswith(b"Exif", start + 2)
        if segments > _MAX_SEGMENTS:
            raise OddStructureError(f"stored in more than {_MAX_SEGMENTS:,} segments")
        if exif > _MAX_EXIF_SEGMENTS:
            raise OddStructureError(f"stored with more than {_MAX_EXIF_SEGMENTS} EXIF blocks")
    if len(found.scans) > _MAX_SCANS:
        raise OddStructureError(f"stored in {len(found.scans):,} passes; the limit is {_MAX_SCANS}")
    return found


def endings(data: bytes, structure: JpegStructure) -> tuple[bytes, bytes] | None:
    """Return a JPEG that lacks its end marker with two endings.

    If its last scan is complete, both decode to the same pixels. Otherwise, the second decodes to
    noise where the first is gray.

    Args:
        data: The file, possibly with the first byte of its end marker, or padded with zeros.
        structure: Its structure.

    Returns:
        The file with an end marker, and with noise and an end marker; None if it has an end marker
        or lacks scans.
    """
    if structure.has_end or not structure.has_every_coefficient:
        return None
    body = data.rstrip(b"\xff")
    if body.endswith(b"\0\0"):
        # The decoder would read missing pixels from the padding. A scan can end in one zero.
        body = body.rstrip(b"\0") + b"\0"
    return body + _END_MARKER, body + _CONTINUATION + _END_MARKER


def _coefficients_per_pixel(frame: bytes) -> float:
    sampling = [(factors >> 4, factors & 15) for factors in frame[7::3]] or [(1, 1)]
    largest = max(across for across, _ in sampling) * max(down for _, down in sampling)
    total = sum(across * down for across, down in sampling)
    return min(total / largest, 4.0) if largest else 4.0
