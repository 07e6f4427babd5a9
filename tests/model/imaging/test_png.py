"""PNGs whose ancillary chunks are broken, unneeded or many."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model.imaging.decode import decode_image
from model.imaging.decode_guard import OddStructureError
from model.imaging.formats import CorruptImageError, UnsupportedImageError
from model.imaging.png import without_ancillary_chunks
from tests.model.imaging.profiles import DISPLAY_P3, converted, rgb_profile
from tests.model.imaging.test_decode import SIZE, encode, fading_flower, pixels
from tests.model.imaging.test_decode_guard import chunk, in_png
from tests.model.imaging.test_decode_refused import OTHER, PHOTO, SAMPLES, refusal

PLAIN = encode(PHOTO, "PNG")
ANIMATED = SAMPLES["PNG animated"]
PACKED = zlib.compress(b"A rose")
PROFILE = zlib.compress(rgb_profile(DISPLAY_P3, 2.2))


def bad_crc(part: bytes) -> bytes:
    return part[:-1] + bytes([part[-1] ^ 1])


def before_pixels(*parts: bytes) -> bytes:
    return PLAIN[:33] + b"".join(parts) + PLAIN[33:]


BROKEN = {
    "text with a wrong checksum": bad_crc(chunk(b"tEXt", b"Title\0A rose")),
    "compressed text with a wrong checksum": bad_crc(chunk(b"zTXt", b"Title\0\0" + PACKED)),
    "compressed text of an unknown method": chunk(b"zTXt", b"Title\0\7" + PACKED),
    "compressed text that is not compressed": chunk(b"zTXt", b"Title\0\0A rose"),
    "text without a key": chunk(b"tEXt"),
    "compressed text of 50 MB": chunk(b"zTXt", b"Title\0\0" + zlib.compress(bytes(50_000_000))),
    "international text that ends early": chunk(b"iTXt", b"Title\0\1\0en"),
    "international text of 50 MB": chunk(
        b"iTXt", b"Title\0\1\0\0\0" + zlib.compress(bytes(50_000_000))
    ),
    "XMP with a wrong checksum": bad_crc(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")),
    "a short resolution": chunk(b"pHYs", b"\0"),
    "a short gamma": chunk(b"gAMA"),
    "a short chromaticity": chunk(b"cHRM", bytes(3)),
    "a short rendering intent": chunk(b"sRGB"),
    "a short transparency": chunk(b"tRNS", b"\0\1"),
    "transparency with a wrong checksum": bad_crc(chunk(b"tRNS", bytes(6))),
    "EXIF with a wrong checksum": bad_crc(chunk(b"eXIf", b"II*\0")),
    "a color profile of an unknown method": chunk(b"iCCP", b"P3\0\1" + PROFILE),
    "a color profile that is not compressed": chunk(b"iCCP", b"P3\0\0" + b"P3"),
    "a color profile with a wrong checksum": bad_crc(chunk(b"iCCP", b"P3\0\0" + PROFILE)),
    "an empty color profile": chunk(b"iCCP"),
    "a color profile of 2 MB": chunk(b"iCCP", b"P3\0\0" + zlib.compress(bytes(2_000_000))),
    "XMP of 2 MB": chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(bytes(2_000_000))
    ),
    "an EXIF text of 2 MB": chunk(
        b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(2_000_000))
    ),
    "many EXIF texts of 50 MB": 1000
    * chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(50_000_000))),
    "a private chunk with a wrong checksum": bad_crc(chunk(b"prVt", b"x")),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_photo_with_a_broken_ancillary_chunk_keeps_its_pixels(kind: str) -> None:
    for data in (before_pixels(BROKEN[kind]), PLAIN[:-12] + BROKEN[kind] + PLAIN[-12:]):
        assert np.array_equal(pixels(decode_image(data)), pixels(PHOTO))


def frame_control(number: int, width: int, height: int) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 10, 0, 0))


# 12 bytes around the 26 of a frame control chunk.
FIRST_FRAME = ANIMATED[ANIMATED.index(b"fcTL") - 4 :][:38]
ANIMATIONS = {
    "frames out of sequence": ANIMATED.replace(FIRST_FRAME, frame_control(7, *SIZE)),
    "a frame larger than the image": before_pixels(
        chunk(b"acTL", struct.pack(">II", 1, 0)), frame_control(0, 500, 500)
    ),
    "no frames": before_pixels(chunk(b"acTL", bytes(8))),
    "a short animation header": before_pixels(chunk(b"acTL", b"\0")),
    "a wrong frame checksum": before_pixels(
        chunk(b"acTL", struct.pack(">II", 1, 0)), bad_crc(frame_control(0, *SIZE))
    ),
    "frame data before the image": before_pixels(
        chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fdAT", b"\0\0\0\5" + PACKED)
    ),
}


@pytest.mark.parametrize("kind", ANIMATIONS)
def test_an_animation_with_errors_gives_its_still_image(kind: str) -> None:
    assert ANIMATIONS[kind] != ANIMATED
    assert np.array_equal(pixels(decode_image(ANIMATIONS[kind])), pixels(PHOTO))


def test_transparency_orientation_and_profile_stay() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = fading_flower()
    data = encode(image, "PNG", exif=exif, icc_profile=rgb_profile(DISPLAY_P3, 2.2))
    text = chunk(b"tEXt", b"Title\0A rose")
    cleaned = without_ancillary_chunks(data[:33] + text + data[33:])
    assert cleaned == data
    rgba = pixels(image)
    expected = converted(rgba[:, -1, :3], DISPLAY_P3, 2.2)
    got = pixels(decode_image(cleaned))
    assert got.shape == (SIZE[0], SIZE[1], 3)
    assert np.abs(got[-1, ::-1].astype(int) - expected).max() <= 3


@pytest.mark.parametrize(
    "text",
    [
        chunk(
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(
                b"\nexif\n      32\n"
                + (b"Exif\0\0" + b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")
                .hex()
                .encode()
            ),
        ),
        chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
    ],
    ids=["imagemagick", "xmp"],
)
def test_an_orientation_in_a_text_is_applied(text: bytes) -> None:
    broken = BROKEN["compressed text of an unknown method"]
    assert decode_image(before_pixels(broken, text)).size == SIZE[::-1]


@pytest.mark.parametrize(
    "part",
    [
        chunk(b"iCCP", b"P3\0\0" + zlib.compress(bytes(2**20))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2**20))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + bytes(2_000_000)),
    ],
)
def test_a_chunk_up_to_the_limit_stays(part: bytes) -> None:
    data = before_pixels(part)
    assert without_ancillary_chunks(data) is data
    assert np.array_equal(pixels(decode_image(data)), pixels(PHOTO))


def test_a_png_without_ancillary_chunks_is_not_copied() -> None:
    assert without_ancillary_chunks(PLAIN) is PLAIN


@pytest.mark.parametrize("length", [0, 7, 8, 20, 33, 40, 60])
def test_a_short_file_stays_as_it_is(length: int) -> None:
    assert without_ancillary_chunks(PLAIN[:length]) == PLAIN[:length]


def test_truncated_pixels_after_a_broken_text_are_refused() -> None:
    data = before_pixels(BROKEN["text with a wrong checksum"])
    assert type(refusal(data[: len(data) // 2])) is CorruptImageError


@pytest.mark.parametrize("padded", [12, 3_000])
def test_a_truncated_file_padded_with_zeros_is_refused(padded: int) -> None:
    noise = np.random.default_rng(0).integers(256, size=(60, 80, 3)).astype(np.uint8)
    whole = encode(Image.fromarray(noise), "PNG")
    end = whole.index(b"IEND") - 4
    with pytest.raises(CorruptImageError):
        decode_image(whole[: end - padded] + bytes(padded) + whole[end:])


def test_too_many_chunks_are_refused() -> None:
    with pytest.raises(OddStructureError):
        without_ancillary_chunks(in_png(chunk(b"tEXt") * 70_000))


def test_a_png_converted_for_ios_is_unsupported_not_damaged() -> None:
    data = PLAIN[:8] + chunk(b"CgBI", bytes(4)) + PLAIN[8:-40] + PLAIN[-12:]
    assert type(refusal(data)) is UnsupportedImageError


def test_other_frames_are_not_decoded() -> None:
    assert OTHER.size == SIZE
    assert len(without_ancillary_chunks(ANIMATED)) < len(ANIMATED) * 2 // 3
