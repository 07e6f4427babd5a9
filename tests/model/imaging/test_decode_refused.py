"""Damaged and unusable files, each refused with its own error class and one sentence."""

from __future__ import annotations

import re
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.imaging.decode import decode_image
from model.imaging.formats import CorruptImageError, ImageError, UnsupportedImageError
from model.imaging.limits import ImageLimits
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
    """Decode a file that must be refused; check that its message reveals no internals."""
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


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("part", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_a_truncated_photo_is_refused(name: str, part: float) -> None:
    data = SAMPLES[name]
    assert type(refusal(data[: int(part * len(data))])) is CorruptImageError


def damaged(whole: bytes, turn: int, rng: np.random.Generator, header: int) -> bytes:
    """Cut off the end of a file, cut out a part, or change bytes anywhere or in the header.

    Half of the changes hit the header, where parsers make most decisions.
    """
    data = bytearray(whole)
    first, last = sorted(rng.integers(0, len(data), 2))
    if turn % 4 == 0:
        del data[first + 1 :]
    elif turn % 4 == 1:
        del data[first:last]
    else:
        reach = len(data) if turn % 4 == 2 else min(len(data), header)
        for at in rng.integers(0, reach, rng.integers(1, 6)):
            data[at] = (0, 1, 127, 128, 255, rng.integers(256))[rng.integers(6)]
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_photo_is_decoded_or_an_image_error(name: str) -> None:
    # Low limits bound the time that a damaged header can cost.
    limits = ImageLimits(max_pixels=500_000)
    whole, rng = SAMPLES[name], np.random.default_rng(list(name.encode()))
    outcomes = set()
    for turn in range(400):
        data = damaged(whole, turn, rng, header=200)
        try:
            image = decode_image(data, limits=limits, target_side=(None, 8)[turn % 2])
        except ImageError as error:
            outcomes.add(type(error))
        else:
            assert image.mode == "RGB"
            assert min(image.size) >= 16
    assert CorruptImageError in outcomes


def test_a_progressive_jpeg_of_too_many_scans_is_refused() -> None:
    data = encode(PHOTO.convert("L"), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xc4") : -2]
    assert decode_image(data[:-2] + 40 * last + b"\xff\xd9").size == SIZE
    error = refusal(data[:-2] + 2000 * last + b"\xff\xd9")
    assert type(error) is CorruptImageError


def test_a_video_after_a_photo_is_not_counted_as_scans() -> None:
    motion_photo = SAMPLES["JPEG"] + 2000 * b"\xff\xda\0\x08"
    assert decode_image(motion_photo).size == SIZE[::-1]


def test_the_message_does_not_contain_the_path(tmp_path: Path) -> None:
    path = tmp_path / "rose.jpg"
    path.write_bytes(SAMPLES["JPEG"][:300])
    with pytest.raises(CorruptImageError) as caught:
        decode_image(path)
    assert "rose" not in str(caught.value)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode_image(tmp_path / "none.jpg")


# The suite turns warnings into errors, so a warning of Pillow would fail these tests.
def test_a_photo_with_a_malformed_multi_picture_index_is_decoded() -> None:
    data = bytearray(SAMPLES["MPO"])
    at = data.index(b"MPF\0") + 4
    data[at + 4 : at + 8] = b"\xff\xff\xff\x7f"
    assert decode_image(bytes(data)).size == SIZE[::-1]


def test_a_photo_with_a_damaged_animation_header_is_decoded() -> None:
    data = bytearray(SAMPLES["PNG animated"])
    at = data.index(b"acTL")
    data[at + 4 : at + 8] = bytes(4)
    data[at + 12 : at + 16] = struct.pack(">I", zlib.crc32(data[at : at + 12]))
    assert np.array_equal(pixels(decode_image(bytes(data))), pixels(PHOTO))


@pytest.mark.parametrize("matrix", [0, 10, 11, 13, 14, 17])
def test_an_avif_of_an_unsupported_matrix_is_unsupported_not_damaged(matrix: int) -> None:
    data = bytearray(SAMPLES["AVIF"])
    at = data.index(b"nclx") + 9
    assert data[at] == 6
    data[at] = matrix
    error = refusal(bytes(data))
    assert type(error) is UnsupportedImageError
    assert "matrix" in str(error)


def test_threads_decode_damaged_metadata_without_a_warning() -> None:
    damaged = bytearray(EXIF.tobytes())
    damaged[12:16] = b"\xff" * 4
    data = encode(PHOTO, "JPEG", exif=bytes(damaged))
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
