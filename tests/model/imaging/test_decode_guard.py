"""Structure checks that refuse files which would cost minutes or gigabytes."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from model.imaging.decode import decode_image
from model.imaging.decode_guard import MeteredFile, OddStructureError
from model.imaging.formats import CorruptImageError
from model.imaging.limits import ImageTooLargeError
from tests.conftest import flower_image
from tests.model.imaging.test_decode import SIZE, encode, pixels
from tests.model.imaging.test_decode_refused import PHOTO, SAMPLES, refusal

MIB = 1024 * 1024
JPEG, PNG, GIF = SAMPLES["JPEG"], SAMPLES["PNG"], encode(PHOTO, "GIF")
GIF_START = 13 + (3 << (GIF[10] & 7) + 1)


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def in_jpeg(*parts: bytes) -> bytes:
    return JPEG[:2] + b"".join(parts) + JPEG[2:]


def in_png(*parts: bytes) -> bytes:
    return PNG[:33] + b"".join(parts) + PNG[33:]


def in_gif(*parts: bytes) -> bytes:
    return GIF[:GIF_START] + b"".join(parts) + GIF[GIF_START:]


def run_lengths(width: int, height: int, body: bytes) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + bytes(1024) + body


PACKED = chunk(b"zTXt", b"\0\0" + zlib.compress(bytes(MIB)))
EXIF = b"\xff\xe1\0\x09Exif\0\0x"
# At the body limit of 32 MiB, each costs Pillow seconds to minutes, or a gigabyte.
COSTLY: dict[str, Callable[[], bytes]] = {
    "JPEG of fill bytes": lambda: in_jpeg(b"\xff" * 8 * MIB),
    "JPEG of junk": lambda: in_jpeg(b"\xff\xe0\0\2", bytes(30 * MIB)),
    "JPEG of restarts": lambda: in_jpeg(b"\xff\xd0" * 4 * MIB),
    "JPEG of empty comments": lambda: in_jpeg(b"\xff\xfe\0\2" * MIB),
    "JPEG of comments after the pixels": lambda: JPEG[:-2] + b"\xff\xfe\0\2" * 4 * MIB,
    "JPEG of EXIF blocks": lambda: in_jpeg(EXIF * MIB),
    "JPEG of EXIF blocks after an end": lambda: in_jpeg(b"\xff\xd9", EXIF * MIB),
    "JPEG of EXIF blocks after fill bytes": lambda: in_jpeg((b"\xff" + EXIF) * MIB),
    "JPEG of EXIF blocks after a marker without a length": lambda: in_jpeg(
        (b"\xff\xf0" + b"\xff\xff" + EXIF * 5957 + bytes(6)) * 100
    ),
    "PNG of empty texts": lambda: in_png(chunk(b"tEXt") * MIB),
    "PNG of private chunks": lambda: in_png(chunk(b"prVt") * MIB),
    "PNG of texts after the pixels": lambda: PNG[:-12] + chunk(b"tEXt") * MIB + PNG[-12:],
    "PNG of empty pixel chunks": lambda: in_png(chunk(b"IDAT") * 2 * MIB),
    "GIF of tiny comments": lambda: in_gif(b"!\xfe" + b"\1x" * 8 * MIB + b"\0"),
    "GIF of tiny blocks": lambda: in_gif(b"!\xff" + b"\1x" * 8 * MIB + b"\0"),
    "BMP of empty runs": lambda: run_lengths(2000, 2000, b"\0\0" * 8 * MIB),
    "BMP of empty steps": lambda: run_lengths(2000, 2000, b"\0\2\0\0" * 4 * MIB),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COSTLY)
def test_a_costly_file_is_refused_quickly(name: str) -> None:
    data = COSTLY[name]()
    started = time.process_time()
    error = refusal(data)
    # The slowest takes 0.6 s on an idle core.
    assert time.process_time() - started < 3
    assert type(error) is CorruptImageError


def test_a_large_run_length_bmp_is_refused_and_a_small_one_accepted() -> None:
    # Pillow fills the missing 7,999 pixels of each row in a Python loop.
    error = refusal(run_lengths(8000, 8000, b"\1\5\0\0" * 8000 + b"\0\1"))
    assert type(error) is ImageTooLargeError
    assert decode_image(run_lengths(400, 400, b"\xc8\5\xc8\6\0\0" * 400)).size == (400, 400)


@pytest.mark.slow
def test_compressed_texts_are_not_unpacked() -> None:
    data = in_png(PACKED * 1000)
    started = time.process_time()
    assert decode_image(data).size == SIZE[::-1]
    assert time.process_time() - started < 1


@pytest.mark.slow
def test_metadata_of_common_encoders_is_accepted() -> None:
    profile = b"\xff\xe2\xff\xffICC_PROFILE\0" + bytes(65_521)
    comments = b"\xff\xfe\0\2" * 3000
    assert decode_image(in_jpeg(profile * 400, EXIF * 15, comments)).size == SIZE
    rows = b"".join(chunk(b"tEXt", b"row\0%d" % number) for number in range(20_000))
    assert decode_image(in_png(rows, PACKED * 60)).size == SIZE[::-1]


def test_a_file_allows_a_limited_number_of_reads() -> None:
    file = MeteredFile(bytes(MIB))
    with pytest.raises(OddStructureError):
        list(iter(lambda: file.read(1), b""))
    assert 100_000 < file.tell() < 500_000


def fractions(count: int) -> bytes:
    """Return EXIF with a rotation and an XResolution of `count` fractions."""
    entries = struct.pack("<HHIIHHII", 0x0112, 3, 1, 6, 0x011A, 5, count, 38)
    return (
        b"II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4) + struct.pack("<II", 1, 3) * count
    )


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_exif_that_is_slow_to_parse_is_ignored(format_name: str) -> None:
    large = encode(PHOTO, format_name, exif=fractions(3_000_000))
    started = time.process_time()
    assert decode_image(large).size == SIZE  # not rotated
    assert time.process_time() - started < 2
    assert decode_image(encode(PHOTO, format_name, exif=fractions(1000))).size == SIZE[::-1]


@pytest.mark.slow
def test_an_avif_with_large_exif_is_rotated_by_its_own_property() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0xC000] = 6, bytes(24_000_000)
    data = encode(PHOTO, "AVIF", exif=exif, speed=10)
    # Change the type from bytes (1) to fractions (5), of 8 bytes each.
    byte_entry = struct.pack(">HHI", 0xC000, 1, 24_000_000)
    assert byte_entry in data
    data = data.replace(byte_entry, struct.pack(">HHI", 0xC000, 5, 3_000_000))
    started = time.process_time()
    assert decode_image(data).size == SIZE[::-1]
    assert time.process_time() - started < 2


@pytest.mark.slow
def test_compositing_in_strips_leaves_no_seams() -> None:
    photo = flower_image((1300, 1700)).convert("RGBA")
    alpha = np.linspace(0, 255, 1300 * 1700).reshape(1700, 1300).astype(np.uint8)
    photo.putalpha(Image.fromarray(alpha))
    white = Image.new("RGBA", photo.size, "white")
    expected = Image.alpha_composite(white, photo).convert("RGB")
    data = encode(photo, "PNG", compress_level=1)
    assert np.array_equal(pixels(decode_image(data)), pixels(expected))


@pytest.mark.slow
def test_acquire_receives_the_pixels_that_decoding_allocates() -> None:
    acquired: list[int] = []

    class Acquire:
        def __init__(self, pixels: int) -> None:
            acquired.append(pixels)

        def __enter__(self) -> None:
            return None

        def __exit__(self, *error: object) -> None:
            return None

    large = flower_image((1600, 1200))
    for data in (
        encode(large, "PNG", compress_level=1),
        encode(large, "JPEG"),
        encode(large, "JPEG", progressive=True),
        encode(large, "JPEG")[:-2],
        SAMPLES["AVIF"],
    ):
        decode_image(data, target_side=200, acquire=Acquire)
    whole, reduced = 1600 * 1200, 400 * 300
    # Subsampled 4:2:0, a pixel has 1.5 coefficients of 2 bytes; a decoded one takes 8.
    progressive = reduced + whole * 3 // 8
    assert acquired == [whole, reduced, progressive, 2 * reduced, SIZE[0] * SIZE[1]]
