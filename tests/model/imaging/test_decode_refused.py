"""Unusable files are refused with their own error class and one sentence."""

from __future__ import annotations

import re
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from model.imaging.decode import decode_image
from model.imaging.formats import FORMAT_NAMES, CorruptImageError, ImageError, UnsupportedImageError
from model.imaging.limits import ImageLimits, ImageTooLargeError, ImageTooSmallError
from tests.conftest import flower_image
from tests.model.imaging.test_decode import SIZE, encode, fading_flower, pixels

PHOTO, OTHER = flower_image(SIZE), flower_image(SIZE, seed=1)
EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010F], EXIF[0x8769] = 6, "Petal", {0x9003: "2024:05:01 12:00:00"}
SAMPLES = {
    "JPEG": encode(PHOTO, "JPEG", exif=EXIF),
    "JPEG progressive": encode(PHOTO, "JPEG", progressive=True),
    "JPEG of CMYK": encode(PHOTO.convert("CMYK"), "JPEG"),
    "MPO": encode(PHOTO, "MPO", save_all=True, append_images=[OTHER], exif=EXIF),
    "PNG": encode(PHOTO, "PNG", exif=EXIF),
    "PNG palette": encode(fading_flower().quantize(32), "PNG"),
    "PNG animated": encode(PHOTO, "PNG", save_all=True, append_images=[OTHER]),
    "WebP": encode(PHOTO, "WEBP", exif=EXIF),
    "WebP lossless": encode(fading_flower(), "WEBP", lossless=True),
    "WebP animated": encode(PHOTO, "WEBP", save_all=True, append_images=[OTHER]),
    "GIF": encode(PHOTO, "GIF"),
    "GIF animated": encode(fading_flower(), "GIF", save_all=True, append_images=[OTHER]),
    "AVIF": encode(PHOTO, "AVIF", exif=EXIF, speed=10),
    "AVIF with alpha": encode(fading_flower(), "AVIF", speed=10),
    "BMP": encode(PHOTO, "BMP"),
    "BMP palette": encode(PHOTO.quantize(16), "BMP"),
}
STILL = [name for name in SAMPLES if name != "MPO" and not name.endswith("animated")]


def refusal(data: bytes, limits: ImageLimits | None = None) -> ImageError:
    """Decode a file that must be refused, and check that its message is fit for a client."""
    with pytest.raises(ImageError) as caught:
        decode_image(data, limits=limits or ImageLimits())
    message = str(caught.value)
    assert message[0].isupper()
    assert message[-1] == "."
    assert not re.search(r"PIL|BytesIO|0x|Error|Exception|Traceback|/", message)
    return caught.value


def test_an_empty_file_is_refused() -> None:
    error = refusal(b"")
    assert type(error) is CorruptImageError


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_in_its_first_bytes_is_damaged_not_foreign(name: str) -> None:
    for length in (1, 2, 3, 4, 6, 8, 11, 12, 14, 16, 20, 30):
        error = refusal(SAMPLES[name][:length])
        assert type(error) is CorruptImageError
        assert name.split()[0].replace("MPO", "JPEG") in str(error)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("part", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_a_truncated_photo_is_refused(name: str, part: float) -> None:
    data = SAMPLES[name]
    assert type(refusal(data[: int(part * len(data))])) is CorruptImageError


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_either_survived_or_told_as_an_image_error(name: str) -> None:
    # Limits keep a damaged header from costing time: what it claims is refused.
    limits = ImageLimits(max_pixels=500_000)
    whole, rng = SAMPLES[name], np.random.default_rng(list(name.encode()))
    outcomes = set()
    for turn in range(400):
        data = bytearray(whole)
        first, last = sorted(rng.integers(0, len(data), 2))
        if turn % 4 == 0:
            del data[first + 1 :]
        elif turn % 4 == 1:
            del data[first:last]
        else:
            # Half of the flips go to the head, where they do the most.
            reach = len(data) if turn % 4 == 2 else min(len(data), 200)
            for at in rng.integers(0, reach, rng.integers(1, 6)):
                data[at] = (0, 1, 127, 128, 255, rng.integers(256))[rng.integers(6)]
        try:
            image = decode_image(bytes(data), limits=limits, target_side=(None, 8)[turn % 2])
        except ImageError as error:
            outcomes.add(type(error))
        else:
            assert image.mode == "RGB"
            assert min(image.size) >= 16
    assert CorruptImageError in outcomes


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heicmiaf" + bytes(500), "a HEIC photo"),
        (b"\0\0\0\x24ftyphevc\0\0\0\0msf1hevc" + bytes(500), "a HEIC photo"),
        (b"\0\0\0\x24ftypmif1\0\0\0\0mif1heic" + bytes(500), "a HEIF photo"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2mp41" + bytes(500), "a video"),
        (b"RIFF\0\x10\0\0AVI LIST" + bytes(500), "a video"),
        (encode(PHOTO, "TIFF"), "a TIFF"),
        (encode(PHOTO, "TIFF", big_tiff=False, compression="tiff_lzw"), "a TIFF"),
        (encode(PHOTO, "JPEG2000"), "a JPEG 2000 image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a -->\n<svg width="9"/>', "an SVG drawing"),
        (b"\n <!DOCTYPE html><html><body><svg/></body></html>", "an HTML or XML document"),
        (b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(100), "a ZIP archive"),
        (b"8BPS\0\x01" + bytes(100), "a Photoshop file"),
        (b"Just a few words about a rose.", "not an image"),
        (b"{}", "not an image"),
        (encode(PHOTO, "ICO"), "not an image"),
        (np.random.default_rng(0).bytes(5000), "not an image"),
    ],
)
def test_a_file_of_another_kind_is_named(data: bytes, kind: str) -> None:
    error = refusal(data)
    assert type(error) is UnsupportedImageError
    assert kind in str(error)
    assert FORMAT_NAMES in str(error)


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
        at = data.index(b"\xff\xc0") + 5
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


def test_the_pixel_limit_is_the_callers() -> None:
    data = encode(flower_image((100, 50)), "PNG")
    assert decode_image(data, limits=ImageLimits(max_pixels=5000)).size == (100, 50)
    error = refusal(data, ImageLimits(max_pixels=4999))
    assert type(error) is ImageTooLargeError
    assert "4,999" in str(error)


def test_more_pixels_than_pillow_allows_are_decoded_where_the_caller_allows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Pillow refuses 179 million pixels, and warns of half as many, unless it is told otherwise.
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


def test_a_side_of_16_pixels_is_taken() -> None:
    assert decode_image(encode(flower_image((16, 400)), "PNG")).size == (16, 400)


def test_a_progressive_jpeg_of_countless_passes_is_refused() -> None:
    data = encode(PHOTO.convert("L"), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xc4") : -2]
    assert decode_image(data[:-2] + 40 * last + b"\xff\xd9").size == SIZE
    error = refusal(data[:-2] + 2000 * last + b"\xff\xd9")
    assert type(error) is CorruptImageError


def test_a_video_behind_a_photo_is_not_taken_for_passes_of_it() -> None:
    motion_photo = SAMPLES["JPEG"] + 2000 * b"\xff\xda\0\x08"
    assert decode_image(motion_photo).size == SIZE[::-1]


def test_a_path_is_not_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "rose.jpg"
    path.write_bytes(SAMPLES["JPEG"][:300])
    with pytest.raises(CorruptImageError) as caught:
        decode_image(path)
    assert "rose" not in str(caught.value)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode_image(tmp_path / "none.jpg")


# The suite turns warnings into errors, so each of these would be refused if Pillow's reached us.
def test_a_malformed_multi_picture_index_does_not_cost_the_photo() -> None:
    data = bytearray(SAMPLES["MPO"])
    at = data.index(b"MPF\0") + 4
    data[at + 4 : at + 8] = b"\xff\xff\xff\x7f"
    assert decode_image(bytes(data)).size == SIZE[::-1]


def test_a_broken_animation_header_does_not_cost_the_photo() -> None:
    data = bytearray(SAMPLES["PNG animated"])
    at = data.index(b"acTL")
    data[at + 4 : at + 8] = bytes(4)
    data[at + 12 : at + 16] = struct.pack(">I", zlib.crc32(data[at : at + 12]))
    assert np.array_equal(pixels(decode_image(bytes(data))), pixels(PHOTO))


def test_threads_decode_damaged_metadata_without_a_warning() -> None:
    broken = bytearray(EXIF.tobytes())
    broken[12:16] = b"\xff" * 4
    data = encode(PHOTO, "JPEG", exif=bytes(broken))
    failures: list[BaseException] = []

    def decode() -> None:
        try:
            for _ in range(20):
                decode_image(data)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
