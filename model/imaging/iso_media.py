"""Boxes, items and item data of ISO base media files: AVIF and HEIF.

References: ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (items).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from typing import Final

_CONTAINER_BOXES: Final = (b"moov", b"mdia", b"minf", b"stbl", b"iprp")
# Encoders nest six deep and write some dozens of boxes.
_MAX_DEPTH: Final = 12
_MAX_BOXES: Final = 4096
_MAX_ITEMS: Final = 4096


class Reader:
    """A cursor over big-endian bytes; raises ValueError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, length: int) -> bytes:
        """Read `length` bytes."""
        end = self.position + length
        if end > len(self._data):
            raise ValueError("truncated")
        part = self._data[self.position : end]
        self.position = end
        return part

    def number(self, length: int) -> int:
        """Read an unsigned number of `length` bytes."""
        return int.from_bytes(self.take(length), "big")


class BitReader:
    """A cursor over bits, most significant bit first; raises ValueError at the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def bits(self, count: int) -> int:
        """Read an unsigned number of `count` bits."""
        if count > self._left:
            raise ValueError("truncated")
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def exponential_golomb(self) -> int:
        """Read an unsigned number in Exp-Golomb code: `uvlc` of AV1, `ue(v)` of HEVC."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
        return (1 << zeros) - 1 + self.bits(zeros) if zeros < 32 else (1 << 32) - 1


def boxes(data: bytes, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Yield each box as type and body; a container's boxes replace it, except a track's."""
    if depth > _MAX_DEPTH:
        raise ValueError("boxes nested too deep")
    reader = Reader(data)
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
            yield from boxes(body[4:], depth + 1)
        elif kind in _CONTAINER_BOXES:
            yield from boxes(body, depth + 1)
        else:
            yield kind, body


def grouped_boxes(data: bytes) -> defaultdict[bytes, list[bytes]]:
    """Return the bodies of all boxes by type."""
    bodies: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for kind, body in boxes(data):
        bodies[kind].append(body)
    return bodies


def color_description(data: bytes) -> tuple[int, int] | None:
    """Return the color primaries and transfer characteristics of an image, by ITU-T H.273.

    Returns:
        The first such description (nclx); None if there is none, or the file is damaged.
    """
    try:
        for ipco in grouped_boxes(data)[b"ipco"]:
            for kind, body in boxes(ipco):
                if kind == b"colr" and body.startswith(b"nclx"):
                    reader = Reader(body[4:])
                    return reader.number(2), reader.number(2)
    except ValueError:
        pass
    return None


def item_types(iinf: bytes) -> dict[int, bytes]:
    """Return the type of each item of an item information box, by id.

    Raises:
        ValueError: The box is damaged, or states two types for an item.
    """
    types: dict[int, bytes] = {}
    version = iinf[0]
    for kind, body in boxes(iinf[8 if version else 6 :]):
        if kind == b"infe" and body[0] >= 2:
            id_length = 2 if body[0] == 2 else 4
            item = int.from_bytes(body[4 : 4 + id_length], "big")
            if item in types:
                raise ValueError("two items of one id")
            types[item] = body[6 + id_length : 10 + id_length]
    return types


def item_data(
    bodies: defaultdict[bytes, list[bytes]], wanted: Container[int], data: bytes
) -> Iterator[tuple[int, bytes]]:
    """Yield the ids and bytes of the wanted items.

    Args:
        bodies: Result of `grouped_boxes`.
        wanted: Ids of items.
        data: The file.

    Raises:
        ValueError: The item location box is damaged, or the items are larger than the file.
    """
    embedded = b"".join(bodies[b"idat"])
    left = len(data)
    for iloc in bodies[b"iloc"]:
        for item, parts in _located(iloc, data, embedded):
            if item in wanted:
                found = []
                for source, start, size in parts:
                    found.append(source[start : start + size])
                    left -= len(found[-1])
                    if left < 0:
                        raise ValueError("items larger than their file")
                yield item, b"".join(found)


def _located(
    iloc: bytes, data: bytes, embedded: bytes
) -> Iterator[tuple[int, list[tuple[bytes, int, int]]]]:
    """Yield the id of each item and its parts, as source, start and length."""
    reader = Reader(iloc)
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
        parts = []
        for _ in range(reader.number(2)):
            if version:
                reader.take(index_length)
            start = base + reader.number(offset_length)
            parts.append((source, start, reader.number(size_length) or len(source)))
        yield item, parts
