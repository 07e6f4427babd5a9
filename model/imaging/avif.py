"""Frame sizes of an AVIF, read from the AV1 bitstream instead of the container.

A container may state any size (`ispe`), and the decoder allocates what the AV1 sequence header
states. Pillow and libavif report only the container's size. Reference: AV1 specification, section
5.5 (sequence header).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from model.imaging.iso_media import BitReader, Reader, boxes, grouped_boxes, item_data, item_types

_SEQUENCE_HEADER: Final = 1
# libavif passes this limit to dav1d.
_MAX_DECODER_PIXELS: Final = 16_384 * 16_384


class AvifStructureError(Exception):
    """An AVIF whose AV1 sequence headers cannot be read."""


@dataclass(frozen=True)
class Av1Size:
    """Size of the frames of one AV1 stream.

    Attributes:
        width: Largest frame width in the sequence header, in pixels.
        height: Largest frame height in the sequence header, in pixels.
        max_pixels: Most pixels that a frame header may select; above width × height only in streams
            whose frames can override their size.
    """

    width: int
    height: int
    max_pixels: int


def av1_sizes(data: bytes) -> list[Av1Size]:
    """Return the size of each AV1 image of an AVIF: tiles, alpha plane and first frames of tracks.

    Raises:
        AvifStructureError: A box or a sequence header is damaged, or there is none.
    """
    try:
        sizes = [size for stream in _streams(data) for size in _stream_sizes(stream)]
    except (IndexError, ValueError) as error:
        raise AvifStructureError from error
    if not sizes:
        raise AvifStructureError
    return sizes


def _streams(data: bytes) -> Iterator[bytes]:
    """Yield the AV1 stream of each image item, and of each track's first frame."""
    bodies = grouped_boxes(data)
    images = {
        item
        for body in bodies[b"iinf"]
        for item, kind in item_types(body).items()
        if kind == b"av01"
    }
    for _, stream in item_data(bodies, images, data):
        yield stream
    for track in bodies[b"trak"]:
        sample = _first_sample(track, data)
        if sample is not None:
            yield sample


def _first_sample(track: bytes, data: bytes) -> bytes | None:
    """Return the first sample of an AV1 track: Pillow decodes no other. None without samples."""
    tables = dict(boxes(track))
    if b"av01" not in tables.get(b"stsd", b"")[:16]:
        return None
    offset_length, chunks = (4, tables.get(b"stco")) if b"stco" in tables else (8, tables[b"co64"])
    sizes = tables.get(b"stsz", b"")
    if not chunks or int.from_bytes(chunks[4:8], "big") == 0:
        return None
    start = int.from_bytes(chunks[8 : 8 + offset_length], "big")
    size = int.from_bytes(sizes[4:8], "big") or int.from_bytes(sizes[12:16], "big")
    return data[start : start + size]


def _stream_sizes(stream: bytes) -> Iterator[Av1Size]:
    """Yield the size in each sequence header of a stream of open bitstream units (OBUs)."""
    reader = Reader(stream)
    found = False
    while reader.position < len(stream):
        header = reader.number(1)
        if header & 4:
            reader.take(1)  # extension
        size = _leb128(reader) if header & 2 else len(stream) - reader.position
        body = reader.take(size)
        if header >> 3 & 15 == _SEQUENCE_HEADER:
            found = True
            yield _sequence_size(BitReader(body[:64]))
    if not found:
        raise ValueError("no sequence header")


def _leb128(reader: Reader) -> int:
    """Read an unsigned integer in LEB128, of at most 8 bytes."""
    value = 0
    for at in range(8):
        byte = reader.number(1)
        value |= (byte & 127) << 7 * at
        if not byte & 128:
            break
    return value


def _sequence_size(header: BitReader) -> Av1Size:
    """Read the frame size from a sequence header."""
    header.bits(4)  # profile, still picture
    fixed_size = bool(header.bits(1))  # reduced still picture header
    if fixed_size:
        header.bits(5)  # level
    else:
        _skip_operating_points(header)
    width_bits, height_bits = header.bits(4) + 1, header.bits(4) + 1
    width, height = header.bits(width_bits) + 1, header.bits(height_bits) + 1
    most = width * height if fixed_size else min(1 << width_bits + height_bits, _MAX_DECODER_PIXELS)
    return Av1Size(width, height, max(width * height, most))


def _skip_operating_points(header: BitReader) -> None:
    """Skip the timing and operating point fields before the frame size."""
    delay_length = 0
    if header.bits(1):  # timing info
        header.bits(64)
        if header.bits(1):
            header.exponential_golomb()
        if header.bits(1):  # decoder model info
            delay_length = header.bits(5) + 1
            header.bits(42)
    display_delay = header.bits(1)
    for _ in range(header.bits(5) + 1):
        header.bits(12)
        if header.bits(5) > 7:  # levels above 3.3 have a tier
            header.bits(1)
        if delay_length and header.bits(1):
            header.bits(2 * delay_length + 1)
        if display_delay and header.bits(1):
            header.bits(4)
