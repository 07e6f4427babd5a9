"""Size limits, checked before pixels are decoded."""

from __future__ import annotations

import struct
import zlib
from contextlib import nullcontext

import pytest
from PIL import ImageFile

from model.imaging.decode import decode_image
from model.imaging.formats import CorruptImageError
from model.imaging.limits import ImageLimits, ImageTooLargeError, ImageTooSmallError
from tests.conftest import flower_image
from tests.model.imaging.test_decode import encode
from tests.model.imaging.test_decode_refused import PHOTO, SAMPLES, refusal

KILOPIXELS = ImageLimits(max_pixels=100_000)


def claiming(format_name: str, width: int, height: int) -> bytes:
    """Return a small file whose header claims a size that its pixels do not have."""
    data = bytearray(encode(PHOTO, format_name, **({"speed": 10} if format_name == "AVIF" else {})))
    if format_name == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif format_name == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif format_name == "BMP":
        data[18:26] = struct.pack("<II", width, height)
    elif format_name == "AVIF":
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", width, height)
    elif format_name == "JPEG":
        at = next(data.index(start) for start in (b"\xff\xc0", b"\xff\xc2") if start in data) + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif format_name == "WEBP":
        data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_too_many_pixels_are_refused_before_one_is_decoded(
    format_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(image: ImageFile.ImageFile) -> None:
        pytest.fail("pixels were decoded")

    for plugin in (ImageFile.ImageFile, *ImageFile.ImageFile.__subclasses__()):
        monkeypatch.setattr(plugin, "load", load)
    error = refusal(claiming(format_name, 9000, 8000))
    assert type(error) is ImageTooLargeError
    assert "9000×8000" in str(error)
    assert "64,000,000" in str(error)


@pytest.mark.parametrize("side", [16_384, 65_000, 1 << 24])
def test_a_canvas_of_gigabytes_is_refused_before_it_is_allocated(side: int) -> None:
    canvas = struct.pack("<I", side - 1)[:3] * 2
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas + SAMPLES["WebP lossless"][12:]
    data = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
    assert type(refusal(data)) is ImageTooLargeError


def test_the_caller_sets_the_pixel_limit() -> None:
    data = encode(flower_image((100, 50)), "PNG")
    assert decode_image(data, limits=ImageLimits(max_pixels=5000)).size == (100, 50)
    error = refusal(data, ImageLimits(max_pixels=4999))
    assert type(error) is ImageTooLargeError
    assert "4,999" in str(error)


def test_the_pixel_limit_may_exceed_the_limit_of_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # By default Pillow refuses 179 million pixels and warns at half as many.
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image.size))
    with pytest.raises(CorruptImageError):
        decode_image(claiming("PNG", 16_000, 12_000), limits=ImageLimits(max_pixels=192_000_000))
    assert decoded[0] == (16_000, 12_000)


@pytest.mark.parametrize("size", [(15, 400), (400, 15), (1, 1)])
def test_a_side_below_16_pixels_is_refused(size: tuple[int, int]) -> None:
    error = refusal(encode(flower_image(size), "PNG"))
    assert type(error) is ImageTooSmallError
    assert f"{size[0]}×{size[1]}" in str(error)
    assert "16" in str(error)


def test_a_side_of_16_pixels_is_accepted() -> None:
    assert decode_image(encode(flower_image((16, 400)), "PNG")).size == (16, 400)


@pytest.mark.parametrize("size", [(640, 480), (480, 640)])
def test_a_jpeg_is_limited_by_the_pixels_that_are_decoded(size: tuple[int, int]) -> None:
    data = encode(flower_image(size), "JPEG")  # 307,200 pixels
    error = refusal(data, KILOPIXELS)
    assert type(error) is ImageTooLargeError
    assert f"{size[0]}×{size[1]}" in str(error)
    assert "100,000" in str(error)
    reduced = decode_image(data, limits=KILOPIXELS, target_side=100)
    assert reduced.size == (size[0] // 2, size[1] // 2)
    with pytest.raises(ImageTooLargeError):
        decode_image(data, limits=KILOPIXELS, target_side=200)


def test_a_jpeg_has_at_most_four_times_the_limit_of_pixels() -> None:
    limits = ImageLimits(max_pixels=307_200 // 4)
    data = encode(flower_image((640, 480)), "JPEG")
    assert decode_image(data, limits=limits, target_side=50).size == (160, 120)
    one_less = ImageLimits(max_pixels=limits.max_pixels - 1)
    with pytest.raises(ImageTooLargeError) as caught:
        decode_image(data, limits=one_less, target_side=50)
    assert f"{4 * one_less.max_pixels:,}" in str(caught.value)


@pytest.mark.parametrize("width", [12_000, 22_000])
def test_a_jpeg_of_hundreds_of_megapixels_is_decoded_at_an_eighth(width: int) -> None:
    acquired: list[int] = []

    def acquire(pixels: int) -> nullcontext[None]:
        acquired.append(pixels)
        return nullcontext()

    data = claiming("JPEG", width, 9000)
    with pytest.raises(ImageTooLargeError):
        decode_image(data)
    assert decode_image(data, target_side=320, acquire=acquire).size == (width // 8, 1125)
    assert acquired == [width // 8 * 1125]


@pytest.mark.parametrize("scans", ["all scans", "one scan"])
def test_a_progressive_jpeg_keeps_the_limit_of_all_pixels(scans: str) -> None:
    # libjpeg holds the coefficients of all pixels of such a file at any scale.
    data = encode(flower_image((640, 480)), "JPEG", progressive=True)
    if scans == "one scan":
        data = data[: data.index(b"\xff\xc4", data.index(b"\xff\xda"))] + b"\xff\xd9"
    with pytest.raises(ImageTooLargeError):
        decode_image(data, limits=KILOPIXELS, target_side=50)
    half_million = ImageLimits(max_pixels=500_000)
    assert decode_image(data, limits=half_million, target_side=50).size == (160, 120)
