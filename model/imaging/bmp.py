"""Windows bitmaps (BMP, and DIB without a file header) in layouts that Pillow does not decode.

Reference: BITMAPV5HEADER in Microsoft's documentation of the Windows GDI.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

SIGNATURE: Final = b"BM"
_FILE_HEADER_BYTES: Final = 14
_INFO_HEADER_BYTES: Final = 40
_HEADER_BYTES: Final = (_INFO_HEADER_BYTES, 52, 56, 108, 124)
_OS2_HEADER_BYTES: Final = 64
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6
_DECODABLE_COMPRESSIONS: Final = (0, 1, 2, _BITFIELDS, _ALPHA_BITFIELDS)
_DECODABLE_DEPTHS: Final = (1, 4, 8, 16, 24, 32)
# Headers of at least this size include the alpha mask.
_ALPHA_HEADER_BYTES: Final = 56
# Pixels converted at a time: each takes some 30 bytes meanwhile.
_STRIP_PIXELS: Final = 1_000_000
_BGRA_MASKS: Final = (0xFF0000, 0xFF00, 0xFF)
_ALPHA_MASK: Final = 0xFF000000

_Pixels = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class _Header:
    """Bitmap header; `height` is negative if the first row is the top one."""

    start: int
    size: int
    width: int
    height: int
    depth: int
    compression: int
    colors: int


def unsupported_kind(data: bytes) -> str | None:
    """Return a description of a valid kind of BMP that is not decoded, or None."""
    header = _read_header(data)
    if header is None:
        return None
    if header.depth not in _DECODABLE_DEPTHS:
        return f"a BMP of {header.depth} bits per pixel"
    if header.compression not in _DECODABLE_COMPRESSIONS or (
        header.size == _OS2_HEADER_BYTES and header.compression == _BITFIELDS
    ):
        return "a BMP in a rare compression"
    return None


def with_common_layout(data: bytes) -> bytes | None:
    """Return a BMP with bit fields as one of 8 bits per channel.

    Args:
        data: The file, with or without a file header.

    Returns:
        A BMP that Pillow decodes, of at most twice the size; None if `data` has no bit fields, has
        the common ones or is damaged.
    """
    header = _read_header(data)
    if (
        header is None
        or header.size not in _HEADER_BYTES
        or header.depth not in (16, 32)
        or header.compression not in (_BITFIELDS, _ALPHA_BITFIELDS)
    ):
        return None
    masks = _integers(data, header.start + _INFO_HEADER_BYTES, 4)
    has_alpha = header.size >= _ALPHA_HEADER_BYTES or header.compression == _ALPHA_BITFIELDS
    if not has_alpha:
        masks = (*masks[:3], 0)
    if len(masks) < 4 or not any(masks[:3]) or not all(map(_is_contiguous, masks)):
        return None
    if header.depth == 32 and masks[:3] == _BGRA_MASKS:
        return None
    start = _pixels_start(data, header, masks_bytes=16 if has_alpha else 12)
    rows = _rows(memoryview(data)[start:], header)
    head = struct.pack("<IiiHHI", 56, header.width, header.height, 1, 32, _BITFIELDS)
    fields_out = struct.pack("<4I", *_BGRA_MASKS, _ALPHA_MASK if masks[3] else 0)
    body = b"".join(
        _bgra(strip, masks)
        for strip in np.array_split(rows, max(1, rows.size // _STRIP_PIXELS))
        if strip.size
    )
    head += struct.pack("<IiiII", len(body), 0, 0, 0, 0) + fields_out
    offset = _FILE_HEADER_BYTES + len(head)
    return SIGNATURE + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + body


def _read_header(data: bytes) -> _Header | None:
    """Return the header, or None if it is damaged or of another version."""
    start = _FILE_HEADER_BYTES if data.startswith(SIGNATURE) else 0
    try:
        size, width, height, planes, depth, compression, _, _, _, colors = struct.unpack_from(
            "<IiiHHIIiiI", data, start
        )
    except struct.error:
        return None
    if size not in (*_HEADER_BYTES, _OS2_HEADER_BYTES) or planes != 1 or width < 1:
        return None
    return _Header(start, size, width, height, depth, compression, colors)


def _pixels_start(data: bytes, header: _Header, masks_bytes: int) -> int:
    if header.start:
        return int.from_bytes(data[10:14], "little")
    masks = masks_bytes if header.size == _INFO_HEADER_BYTES else 0
    return header.size + masks + 4 * header.colors


def _rows(pixels: memoryview, header: _Header) -> _Pixels:
    """Return the pixels (rows, width) of all rows that the file holds."""
    row_bytes = (header.width * header.depth + 31) // 32 * 4
    count = min(abs(header.height), len(pixels) // row_bytes)
    pixel_bytes = header.depth // 8
    values = np.frombuffer(pixels[: count * row_bytes], f"<u{pixel_bytes}")
    values = values.reshape(count, row_bytes // pixel_bytes)
    return values[:, : header.width]


def _bgra(pixels: _Pixels, masks: tuple[int, ...]) -> bytes:
    values = pixels.astype(np.uint32)
    red, green, blue, alpha = (_channel(values, mask) for mask in masks)
    return np.stack([blue, green, red, alpha], axis=-1).tobytes()


def _channel(pixels: npt.NDArray[np.uint32], mask: int) -> npt.NDArray[np.uint8]:
    """Return one channel of 8 bits."""
    if not mask:
        return np.zeros(pixels.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    largest = mask >> shift
    values = (pixels & np.uint32(mask)) >> np.uint32(shift)
    if largest > 255:
        return (values >> np.uint32(largest.bit_length() - 8)).astype(np.uint8)
    # Rounds value × 255 / largest.
    return ((values * np.uint32(255) + np.uint32(largest // 2)) // np.uint32(largest)).astype(
        np.uint8
    )


def _is_contiguous(mask: int) -> bool:
    return not (mask + (mask & -mask)) & mask


def _integers(data: bytes, at: int, count: int) -> tuple[int, ...]:
    part = data[at : at + 4 * count]
    return struct.unpack(f"<{len(part) // 4}I", part[: len(part) // 4 * 4])
