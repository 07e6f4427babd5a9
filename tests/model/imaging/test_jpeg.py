"""Structure of JPEGs: end markers, scans, and variants that are not decoded."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.imaging.decode import decode_image
from model.imaging.decode_guard import OddStructureError
from model.imaging.formats import CorruptImageError, UnsupportedImageError
from model.imaging.jpeg import endings, read_structure
from tests.conftest import flower_image
from tests.model.imaging.test_decode import SIZE, encode, pixels
from tests.model.imaging.test_decode_refused import PHOTO, SAMPLES, refusal

KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "4:4:4": {"subsampling": "4:4:4", "quality": 95},
    "optimized": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}
BIG = (403, 302)
START, END = b"\xff\xd8", b"\xff\xd9"


def jpeg(kind: str, mode: str = "RGB", size: tuple[int, int] = BIG) -> bytes:
    return encode(flower_image(size).convert(mode), "JPEG", **KINDS[kind])


def without_last_scans(data: bytes, scans: int) -> bytes:
    """Cut a progressive JPEG at the tables that precede one of its scans."""
    for _ in range(scans):
        data = data[: data.rindex(b"\xff\xda")]
        data = data[: data.rindex(b"\xff\xc4")]
    return data


def with_frame(data: bytes, code: int, precision: int = 8) -> bytes:
    """Replace the marker code and the precision of a baseline JPEG's frame header."""
    at = data.index(b"\xff\xc0")
    return (
        data[: at + 1] + bytes([code]) + data[at + 2 : at + 4] + bytes([precision]) + data[at + 5 :]
    )


@pytest.mark.slow
@pytest.mark.parametrize("target_side", [None, 60])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_without_its_end_marker_keeps_its_pixels(
    kind: str, mode: str, target_side: int | None
) -> None:
    data = jpeg(kind, mode)
    whole = pixels(decode_image(data, target_side=target_side))
    for cut in (1, 2):
        got = pixels(decode_image(data[:-cut], target_side=target_side))
        assert np.array_equal(got, whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_jpeg_is_refused(kind: str) -> None:
    data = jpeg(kind)
    start = data.rindex(b"\xff\xda") + 20
    for cut in (*range(5, 40), *range(40, len(data) - start, (len(data) - start) // 60)):
        assert type(refusal(data[:-cut])) is CorruptImageError, cut


@pytest.mark.slow
def test_a_jpeg_cut_at_any_restart_marker_is_refused() -> None:
    data = jpeg("restarts")
    restarts = [
        at for at in range(len(data)) if data[at] == 0xFF and data[at + 1] in range(0xD0, 0xD8)
    ]
    assert len(restarts) > 15
    for at in restarts:
        for length in (at, at + 1, at + 2):
            assert type(refusal(data[:length])) is CorruptImageError


@pytest.mark.parametrize("scans", [1, 2, 5])
def test_a_progressive_jpeg_cut_between_scans_is_refused(scans: int) -> None:
    data = jpeg("progressive")
    assert type(refusal(without_last_scans(data, scans))) is CorruptImageError


@pytest.mark.parametrize("padding", [b"\0", b"\xff"], ids=["zeros", "fill bytes"])
@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_a_padded_jpeg_is_decoded_only_if_it_is_whole(kind: str, padding: bytes) -> None:
    data = jpeg(kind)
    whole = pixels(decode_image(data))
    assert np.array_equal(pixels(decode_image(data[:-2] + 5000 * padding)), whole)
    for cut in (40, 500, len(data) // 3):
        assert type(refusal(data[:-cut] + 5000 * padding)) is CorruptImageError


def test_bytes_after_the_end_marker_do_not_matter() -> None:
    data = SAMPLES["JPEG"]
    assert read_structure(data + b"trailer").has_end
    assert np.array_equal(pixels(decode_image(data + b"trailer")), pixels(decode_image(data)))


def test_both_endings_end_and_only_one_continues() -> None:
    data = SAMPLES["JPEG"]
    assert endings(data, read_structure(data)) is None
    cut = data[:-1]
    made = endings(cut, read_structure(cut))
    assert made is not None
    assert made[0] == data
    assert made[1].startswith(data[:-2])
    assert made[1].endswith(END)
    assert len(made[1]) > len(data)


@pytest.mark.parametrize(
    ("kind", "mode", "scans", "buffered", "coefficients"),
    [
        ("baseline", "RGB", 1, False, 1.5),
        ("4:4:4", "RGB", 1, False, 3),
        ("baseline", "L", 1, False, 1),
        ("baseline", "CMYK", 1, False, 4),
        ("progressive", "RGB", 10, True, 1.5),
    ],
)
def test_the_structure_is_read(
    kind: str, mode: str, scans: int, buffered: bool, coefficients: float
) -> None:
    found = read_structure(jpeg(kind, mode))
    assert len(found.scans) == scans
    assert found.is_buffered == buffered
    assert found.coefficients_per_pixel == coefficients
    assert found.has_end
    assert found.has_every_coefficient


def test_a_progressive_jpeg_of_one_scan_is_buffered() -> None:
    data = jpeg("progressive")
    first = data.index(b"\xff\xda")
    found = read_structure(data[: data.index(b"\xff\xc4", first)] + END)
    assert len(found.scans) == 1
    assert found.is_buffered
    assert not found.has_every_coefficient


def test_a_jpeg_whose_first_scan_lacks_a_component_is_buffered() -> None:
    data = bytearray(jpeg("baseline"))
    at = data.index(b"\xff\xda")
    data[at + 4] = 1
    assert read_structure(bytes(data)).is_buffered


def test_damaged_headers_are_read_without_an_error() -> None:
    data = SAMPLES["JPEG progressive"]
    for length in range(0, len(data), 7):
        found = read_structure(START + data[2:length])
        assert found.is_buffered in (True, False)
        assert 0 < found.coefficients_per_pixel <= 4
        assert not found.has_end


def test_too_many_scans_are_refused() -> None:
    scan = b"\xff\xda" + struct.pack(">H", 8) + b"\x01\x01\x00\x00\x3f\x00"
    assert len(read_structure(START + scan * 64).scans) == 64
    with pytest.raises(OddStructureError):
        read_structure(START + scan * 65)


@pytest.mark.parametrize(
    ("code", "precision", "kind"),
    [
        (0xC1, 12, "12 bits"),
        (0xC2, 12, "12 bits"),
        (0xC3, 16, "lossless"),
        (0xC5, 8, "hierarchical"),
        (0xCB, 8, "lossless"),
        (0xF7, 8, "lossless"),
    ],
)
def test_a_jpeg_of_a_rare_kind_is_unsupported_not_damaged(
    code: int, precision: int, kind: str
) -> None:
    error = refusal(with_frame(encode(PHOTO, "JPEG"), code, precision))
    assert type(error) is UnsupportedImageError
    assert kind in str(error)


def test_a_gray_and_a_single_color_photo_lack_only_their_end_marker() -> None:
    for photo in (Image.new("L", SIZE, 128), Image.new("RGB", SIZE, (200, 30, 90))):
        data = encode(photo, "JPEG")
        assert decode_image(data[:-2]).size == SIZE
