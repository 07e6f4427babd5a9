"""Photos whose header states a smaller size than the decoder allocates."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Final

import pytest
from PIL import Image

from tests.adversarial.attacked_service import AttackedService, assert_problem
from tests.adversarial.cases import ACCEPTED, DAMAGED, LARGE, REFUSED, png_chunk, post
from tests.adversarial.test_large_photos import peak_of
from tests.model.imaging.test_decode import encode

# 67 megapixels; the limit of the service is 64.
_LARGE: Final = 8200
_STATED: Final = struct.pack(">II", 64, 64)
# A photo of 64 × 64 pixels takes some MiB; a photo of 67 megapixels at least 130.
_MAX_GROWTH_MIB: Final = 100


def large(mode: str = "L") -> Image.Image:
    return Image.new(mode, (_LARGE, _LARGE))


def restated(data: bytes) -> bytes:
    """State 64×64 in every `ispe` box and track header of an AVIF."""
    return data.replace(struct.pack(">II", _LARGE, _LARGE), _STATED).replace(
        struct.pack(">II", _LARGE << 16, _LARGE << 16), struct.pack(">II", 64 << 16, 64 << 16)
    )


@cache
def false_avif() -> bytes:
    return restated(encode(large(), "AVIF", speed=10))


def false_avif_of_another_brand() -> bytes:
    return false_avif().replace(b"ftypavif", b"ftypmif1", 1)


def false_avif_alpha() -> bytes:
    return restated(encode(large("LA").convert("RGBA"), "AVIF", speed=10, subsampling="4:0:0"))


@cache
def large_webp_frame() -> bytes:
    return encode(Image.new("RGB", (16_383, 4200)), "WEBP", quality=1, method=0)[12:]


def false_webp() -> bytes:
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\x3f\0\0" * 2 + large_webp_frame()
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def false_webp_animation() -> bytes:
    body = bytes(6) + b"\x3f\0\0" * 2 + b"\x64\0\0\0" + large_webp_frame()
    chunks = (
        b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\x3f\0\0" * 2
        + b"ANIM" + struct.pack("<I", 6) + bytes(6)
        + b"ANMF" + struct.pack("<I", len(body)) + body
    )  # fmt: skip
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def false_gif() -> bytes:
    data = bytearray(encode(large(), "GIF"))
    data[6:10] = struct.pack("<HH", 64, 64)
    return bytes(data)


def false_png_frame() -> bytes:
    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    frame = struct.pack(">IIIIIHHBB", 0, _LARGE, _LARGE, 0, 0, 1, 10, 0, 0)
    pixels = zlib.compress(bytes(_LARGE * (_LARGE + 1)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            png_chunk(b"IHDR", head),
            png_chunk(b"acTL", struct.pack(">II", 1, 0)),
            png_chunk(b"fcTL", frame),
            png_chunk(b"IDAT", pixels),
            png_chunk(b"IEND"),
        )
    )


def false_jpeg(position: int) -> bytes:
    """Return a JPEG with a second frame header, which states another size than the first."""
    data = encode(large(), "JPEG")
    at = data.index(b"\xff\xc0")
    header = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
    small = header[:5] + struct.pack(">HH", 64, 64) + header[9:]
    return data[:at] + (small + header, header + small)[position] + data[at + len(header) :]


FILES: Final[dict[str, tuple[Callable[[], bytes], frozenset[int]]]] = {
    "AVIF": (false_avif, LARGE),
    "AVIF of another brand": (false_avif_of_another_brand, REFUSED),
    "AVIF alpha": (false_avif_alpha, LARGE),
    "WebP": (false_webp, DAMAGED),
    "WebP animation": (false_webp_animation, DAMAGED),
    "GIF": (false_gif, LARGE),
    "APNG": (false_png_frame, ACCEPTED),  # without its animation
    "JPEG, small frame header first": (lambda: false_jpeg(0), LARGE | DAMAGED),
    "JPEG, small frame header last": (lambda: false_jpeg(1), LARGE | DAMAGED),
}
CODES: Final = {422: "damaged_photo", 413: "too_many_pixels", 415: "unsupported_format"}


@pytest.mark.parametrize("name", FILES)
def test_a_false_size_does_not_take_its_memory(service: AttackedService, name: str) -> None:
    make, allowed = FILES[name]
    request = post(make())
    before = peak_of(service.worker)
    reply = service.send(request)
    grown = peak_of(service.worker) - before
    assert reply.status in allowed, reply
    if reply.status != 200:
        assert_problem(reply)
        assert reply.json["code"] == CODES[reply.status]
    assert grown < _MAX_GROWTH_MIB
    service.assert_unharmed()
