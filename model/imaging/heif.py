"""HEIC photos: sizes from the HEVC bitstream, and the Pillow plug-in of pillow-heif.

The decoder allocates what the HEVC sequence parameter set (SPS) states, not what the container
does. Only what cameras write is accepted: one coded image, or a grid of tiles. References: ISO/IEC
23008-12 (HEIF), ISO/IEC 14496-15 (hvcC), ITU-T H.265, section 7.3.2.2 (SPS).
"""

from __future__ import annotations

import functools
import importlib.util
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from model.imaging.iso_media import BitReader, Reader, boxes, grouped_boxes, item_data, item_types

PACKAGE: Final = "pillow_heif"
_CODED_TYPES: Final = (b"hvc1", b"hev1")
# Derived items that libheif would decode, although no camera writes them.
_REFUSED_TYPES: Final = frozenset((b"iden", b"iovl", b"mski", b"tili", b"unci"))
_SPS: Final = 33
_EMULATION_PREVENTION: Final = b"\0\0\3"
# Bytes of an SPS up to its picture size: at most 100, with seven sub-layers.
_SPS_BYTES: Final = 128
_PROFILE_BITS, _LEVEL_BITS = 88, 8
# A tile has a unit or a few; a grid of 512×512 tiles some hundred tiles.
_MAX_UNITS: Final = 20_000


class HeifStructureError(Exception):
    """A HEIC that is damaged."""


class HeifVariantError(Exception):
    """A HEIC with another structure than a coded image or a grid of them."""


@dataclass(frozen=True)
class HeifSizes:
    """Sizes of the images in a HEIC, in pixels.

    Attributes:
        coded: Width and height of each HEVC image: tiles, thumbnails, alpha and depth maps.
        grids: Width and height of each image that is composed of tiles.
    """

    coded: list[tuple[int, int]]
    grids: list[tuple[int, int]]


def is_installed() -> bool:
    """Return True if pillow-heif is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


@functools.cache
def register() -> None:
    """Register Pillow's plug-in for the format "HEIF".

    Raises:
        ImportError: pillow-heif is not installed.
    """
    from pillow_heif import register_heif_opener

    # Thumbnails have other pixels than the photo. Requests run in parallel, so one thread each.
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def read_sizes(data: bytes) -> HeifSizes:
    """Read the sizes of all images in a HEIC.

    Raises:
        HeifStructureError: A box, a grid or an SPS is damaged or missing.
        HeifVariantError: The file is whole, but has a structure that no camera writes.
    """
    try:
        return _sizes(data)
    except (IndexError, ValueError) as error:
        raise HeifStructureError from error


def _sizes(data: bytes) -> HeifSizes:
    bodies = grouped_boxes(data)
    (iinf,) = bodies[b"iinf"]
    types = item_types(iinf)
    coded = {item for item, kind in types.items() if kind in _CODED_TYPES}
    grids = {item for item, kind in types.items() if kind == b"grid"}
    primary = _primary_item(bodies)
    if primary not in types:
        raise ValueError("no primary item")
    if primary not in coded | grids or _REFUSED_TYPES.intersection(types.values()):
        raise HeifVariantError
    for grid, tiles in _tiles(bodies, grids):
        # A tile that is used twice is decoded twice.
        if not coded.issuperset(tiles) or len(set(tiles)) < len(tiles) or not tiles:
            raise HeifVariantError(grid)
    configured = _configured_sizes(bodies)
    sizes = []
    canvases = []
    missing = coded | grids
    units = 0
    for item, part in item_data(bodies, coded | grids, data):
        missing.discard(item)
        if item in grids:
            canvases.append(_canvas(part))
            continue
        stated = list(configured[item])
        for unit in _units(part):
            units += 1
            if units > _MAX_UNITS:
                raise ValueError("too many units")
            if _is_sps(unit):
                stated.append(_sps_size(unit))
        if not stated:
            raise ValueError("no sequence parameter set")
        sizes.append(max(stated, key=lambda size: size[0] * size[1]))
    if missing:
        raise ValueError("items without data")
    return HeifSizes(sizes, canvases)


def _primary_item(bodies: defaultdict[bytes, list[bytes]]) -> int:
    body = bodies[b"pitm"][0]
    return int.from_bytes(body[4 : 8 if body[0] else 6], "big")


def _tiles(
    bodies: defaultdict[bytes, list[bytes]], grids: set[int]
) -> Iterator[tuple[int, list[int]]]:
    """Yield each grid and its tiles."""
    for iref in bodies[b"iref"]:
        id_length = 4 if iref[0] else 2
        for kind, body in boxes(iref[4:]):
            reader = Reader(body)
            item = reader.number(id_length)
            if kind == b"dimg" and item in grids:
                count = reader.number(2)
                yield item, [reader.number(id_length) for _ in range(count)]


def _configured_sizes(
    bodies: defaultdict[bytes, list[bytes]],
) -> defaultdict[int, list[tuple[int, int]]]:
    """Return the picture sizes in the decoder configuration (hvcC) of each item."""
    properties = [
        list(_configuration_sizes(body)) if kind == b"hvcC" else []
        for ipco in bodies[b"ipco"]
        for kind, body in boxes(ipco)
    ]
    found: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for ipma in bodies[b"ipma"]:
        reader = Reader(ipma)
        version = reader.number(1)
        index_length = 2 if reader.number(3) & 1 else 1
        for _ in range(reader.number(4)):
            item = reader.number(4 if version else 2)
            for _ in range(reader.number(1)):
                # The first bit says that a reader must know the property.
                index = reader.number(index_length) & (1 << 8 * index_length - 1) - 1
                if index:
                    found[item] += properties[index - 1]
    return found


def _configuration_sizes(hvcc: bytes) -> Iterator[tuple[int, int]]:
    if hvcc[21] & 3 != 3:
        raise ValueError("unit lengths of other than 4 bytes")
    reader = Reader(hvcc)
    reader.take(22)
    for _ in range(reader.number(1)):
        reader.take(1)  # unit type, which each unit repeats
        for _ in range(reader.number(2)):
            unit = reader.take(reader.number(2))
            if _is_sps(unit):
                yield _sps_size(unit)


def _canvas(grid: bytes) -> tuple[int, int]:
    reader = Reader(grid)
    length = 4 if reader.number(2) & 1 else 2
    reader.take(2)  # rows, columns
    return reader.number(length), reader.number(length)


def _units(stream: bytes) -> Iterator[bytes]:
    """Yield the start of each unit of a length-prefixed stream."""
    position = 0
    while position < len(stream):
        length = int.from_bytes(stream[position : position + 4], "big")
        yield stream[position + 4 : position + 4 + min(length, _SPS_BYTES)]
        position += 4 + length


def _is_sps(unit: bytes) -> bool:
    return bool(unit) and unit[0] >> 1 & 63 == _SPS


def _sps_size(unit: bytes) -> tuple[int, int]:
    """Read the picture size from a sequence parameter set."""
    reader = BitReader(unit[2:_SPS_BYTES].replace(_EMULATION_PREVENTION, b"\0\0"))
    reader.bits(4)
    sub_layers = reader.bits(3)
    reader.bits(1 + _PROFILE_BITS + _LEVEL_BITS)
    present = [(reader.bits(1), reader.bits(1)) for _ in range(sub_layers)]
    if sub_layers:
        reader.bits(2 * (8 - sub_layers))
    for has_profile, has_level in present:
        reader.bits(has_profile * _PROFILE_BITS + has_level * _LEVEL_BITS)
    reader.exponential_golomb()  # id
    if reader.exponential_golomb() == 3:  # 4:4:4
        reader.bits(1)
    return reader.exponential_golomb(), reader.exponential_golomb()
