"""Frame sizes of an AVIF, read from the AV1 bitstream instead of the container.

A container may state any size (`ispe`), and the decoder allocates what the AV1 sequence header
states. Pillow and libavif report only the container's size. References: ISO/IEC 14496-12 (boxes),
AV1 specification, section 5.5 (sequence header).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_CONTAINER_BOXES: Final = (b"moov", b"mdia", b"minf", b"stbl")
# Encoders nest six deep and write some dozens of boxes.
_MAX_DEPTH: Final = 12
_MAX_BOXES: Final = 4096
_MAX_ITEMS: Final = 4096
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


class _Reader:
    """A cursor over big-endian bytes; raises ValueError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self._data):
            raise ValueError("truncated")
        part = self._data[self.position : end]
        self.position = end
        return part

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")


class _BitReader:
    """A cursor over the bits of a sequence header, most significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def bits(self, count: int) -> int:
        if count > self._left:
            raise ValueError("truncated")
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def skip_variable_length(self) -> None:
        zeros = 0
        while not self.bits(1):
            zeros += 1
        if zeros < 32:
            self.bits(zeros)


def _boxes(data: bytes, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Yield each box as type and body; a container's boxes replace it, except a track's."""
    if depth > _MAX_DEPTH:
        raise ValueError("boxes nested too deep")
    reader = _Reader(data)
    count = 0
    while reader.position + 8 <= len(data):
        count += 1
        if count > _MAX_BOXES:
            raise ValueError("too many boxes")
        start = reader.position
        size, kind = reader.number(4), reader.take(4)
        if size == 1:
            size = reader.number(8)
        elif size == 0:
            size = len(data) - start
        length = size - (reader.position - start)
        if length < 0:
            raise ValueError("box shorter than its header")
        body = reader.take(length)
        if kind == b"meta":
            yield from _boxes(body[4:], depth + 1)
        elif kind in _CONTAINER_BOXES:
            yield from _boxes(body, depth + 1)
        else:
            yield kind, body


def _streams(data: bytes) -> Iterator[bytes]:
    """Yield the AV1 stream of each image item, and of each track's first frame."""
    bodies: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for kind, body in _boxes(data):
        bodies[kind].append(body)
    images = {item for body in bodies[b"iinf"] for item in _av1_items(body)}
    embedded = b"".join(bodies[b"idat"])
    for body in bodies[b"iloc"]:
        yield from _item_data(body, images, data, embedded)
    for track in bodies[b"trak"]:
        stream = _first_sample(track, data)
        if stream is not None:
            yield stream


def _av1_items(iinf: bytes) -> Iterator[int]:
    """Yield the ids of the AV1 images of an item information box."""
    version = iinf[0]
    for kind, body in _boxes(iinf[8 if version else 6 :]):
        if kind == b"infe" and body[0] >= 2:
            id_length = 2 if body[0] == 2 else 4
            if body[6 + id_length : 10 + id_length] == b"av01":
                yield int.from_bytes(body[4 : 4 + id_length], "big")


def _item_data(iloc: bytes, images: set[int], data: bytes, embedded: bytes) -> Iterator[bytes]:
    """Yield the bytes of the given items, which an item location box locates."""
    reader = _Reader(iloc)
    version = reader.number(4) >> 24
    lengths = reader.number(2)
    offset_length, size_length, base_length, index_length = (
        lengths >> shift & 15 for shift in (12, 8, 4, 0)
    )
    id_length = 4 if version == 2 else 2
    count = reader.number(id_length)
    if count > _MAX_ITEMS:
        raise ValueError("too many items")
    for _ in range(count):
        item = reader.number(id_length)
        method = reader.number(2) & 15 if version else 0
        reader.take(2)  # data reference index
        base = reader.number(base_length)
        source = embedded if method == 1 else data
        parts: list[bytes] = []
        for _ in range(reader.number(2)):
            if version:
                reader.take(index_length)
            start = base + reader.number(offset_length)
            size = reader.number(size_length) or len(source)
            if item in images:
                parts.append(source[start : start + size])
        if item in images:
            if sum(map(len, parts)) > len(data):
                raise ValueError("item larger than its file")
            yield b"".join(parts)


def _first_sample(track: bytes, data: bytes) -> bytes | None:
    """Return the first sample of an AV1 track: Pillow decodes no other. None without samples."""
    tables = dict(_boxes(track))
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
    reader = _Reader(stream)
    found = False
    while reader.position < len(stream):
        header = reader.number(1)
        if header & 4:
            reader.take(1)  # extension
        size = _leb128(reader) if header & 2 else len(stream) - reader.position
        body = reader.take(size)
        if header >> 3 & 15 == _SEQUENCE_HEADER:
            found = True
            yield _sequence_size(_BitReader(body[:64]))
    if not found:
        raise ValueError("no sequence header")


def _leb128(reader: _Reader) -> int:
    """Read an unsigned integer in LEB128, of at most 8 bytes."""
    value = 0
    for at in range(8):
        byte = reader.number(1)
        value |= (byte & 127) << 7 * at
        if not byte & 128:
            break
    return value


def _sequence_size(header: _BitReader) -> Av1Size:
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


def _skip_operating_points(header: _BitReader) -> None:
    """Skip the timing and operating point fields before the frame size."""
    delay_length = 0
    if header.bits(1):  # timing info
        header.bits(64)
        if header.bits(1):
            header.skip_variable_length()
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
