"""Windows bitmaps in rare layouts."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.imaging.bmp import with_common_layout
from model.imaging.decode import decode_image
from model.imaging.formats import CorruptImageError, UnsupportedImageError
from model.imaging.limits import ImageLimits, ImageTooLargeError
from tests.conftest import flower_image
from tests.model.imaging.test_decode import SIZE, Pixels, encode, on_white, pixels
from tests.model.imaging.test_decode_guard import run_lengths
from tests.model.imaging.test_decode_refused import PHOTO, refusal

WIDTH, HEIGHT = 37, 25  # rows of 16-bit pixels are padded
# Red, green, blue and alpha masks, by name as in bmpsuite.
LAYOUTS: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "16-bit 565": (16, (0xF800, 0x07E0, 0x001F, 0)),
    "16-bit 444": (16, (0x0F00, 0x00F0, 0x000F, 0)),
    "16-bit 4444": (16, (0x0F00, 0x00F0, 0x000F, 0xF000)),
    "16-bit 231": (16, (0x0060, 0x001C, 0x0001, 0)),
    "32-bit 888": (32, (0xFF0000, 0xFF00, 0xFF, 0)),
    "32-bit reversed": (32, (0xFF, 0xFF00, 0xFF0000, 0)),
    "32-bit 7187": (32, (0x3F80, 0x1FC000, 0x7F, 0)),
    "32-bit 111110": (32, (0xFFE00000, 0x001FFC00, 0x000003FF, 0)),
    "32-bit 1010102": (32, (0x3FF00000, 0x000FFC00, 0x000003FF, 0xC0000000)),
    "32-bit 81284": (32, (0xFF000000, 0x00FFF000, 0x00000FF0, 0x0000000F)),
    "32-bit 16-bit red and green": (32, (0xFFFF0000, 0x0000FFFF, 0, 0)),
}


def scene() -> Pixels:
    """Return RGBA pixels of every brightness and alpha."""
    rgba = np.dstack([pixels(flower_image((WIDTH, HEIGHT))), np.zeros((HEIGHT, WIDTH), np.uint8)])
    rgba[..., 3] = np.linspace(0, 255, WIDTH).astype(np.uint8)
    rgba[0, :3] = (0, 0, 0, 255), (255, 255, 255, 255), (255, 0, 0, 255)
    return rgba


def bits_of(mask: int) -> tuple[int, int]:
    """Return the shift and the largest value of a mask."""
    shift = (mask & -mask).bit_length() - 1 if mask else 0
    return shift, mask >> shift


def bitmap(
    layout: str, *, header: int = 56, top_down: bool = False, file_header: bool = True
) -> bytes:
    """Return a BMP of `scene` with bit fields."""
    depth, masks = LAYOUTS[layout]
    values = np.zeros((HEIGHT, WIDTH), np.uint64)
    for channel, mask in enumerate(masks):
        shift, largest = bits_of(mask)
        stored = np.rint(scene()[..., channel] / 255 * largest).astype(np.uint64)
        values |= stored << np.uint64(shift)
    return wrap(values.astype(f"<u{depth // 8}"), depth, masks, header, top_down, file_header)


def wrap(
    values: npt.NDArray[Any],
    depth: int,
    masks: tuple[int, ...],
    header: int,
    top_down: bool = False,
    file_header: bool = True,
) -> bytes:
    height, width = values.shape
    rows = [row.tobytes() + bytes(-row.nbytes % 4) for row in values]
    body = b"".join(rows if top_down else rows[::-1])
    compression = 6 if header == 40 and masks[3] else 3
    head = struct.pack("<IiiHH", header, width, -height if top_down else height, 1, depth)
    head += struct.pack("<IIiiII", compression, len(body), 0, 0, 0, 0)
    fields = 4 if header >= 56 or compression == 6 else 3
    head += struct.pack(f"<{fields}I", *masks[:fields])
    head += bytes(max(0, header - len(head)))
    start = 14 + len(head)
    first = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) if file_header else b""
    return first + head + body


def expected(layout: str) -> Pixels:
    rgba = scene()
    for channel, mask in enumerate(LAYOUTS[layout][1]):
        _, largest = bits_of(mask)
        if largest:
            stored = np.rint(rgba[..., channel] / 255 * largest)
            rgba[..., channel] = np.rint(stored / largest * 255).astype(np.uint8)
        else:
            rgba[..., channel] = 255 if channel == 3 else 0
    return on_white(rgba)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("header", [40, 52, 56, 108, 124])
def test_bit_fields_are_decoded(layout: str, header: int) -> None:
    if header == 52 and LAYOUTS[layout][1][3]:
        header = 56  # the shorter one has no alpha mask
    for top_down in (False, True):
        got = decode_image(bitmap(layout, header=header, top_down=top_down))
        assert np.abs(pixels(got).astype(int) - expected(layout)).max() <= 1


@pytest.mark.parametrize("layout", ["16-bit 444", "32-bit 7187", "32-bit 888"])
@pytest.mark.parametrize("header", [40, 56])
def test_bit_fields_without_a_file_header_are_decoded(layout: str, header: int) -> None:
    got = decode_image(bitmap(layout, header=header, file_header=False))
    assert np.abs(pixels(got).astype(int) - expected(layout)).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_bitmap_without_a_file_header_is_decoded(mode: str) -> None:
    image = PHOTO.quantize(16) if mode == "P" else PHOTO.convert(mode)
    got = decode_image(encode(image, "DIB"))
    assert np.array_equal(pixels(got), pixels(image.convert("RGB")))


@pytest.mark.parametrize("layout", ["16-bit 444", "32-bit 7187"])
@pytest.mark.parametrize("file_header", [True, False])
def test_truncated_bit_fields_are_refused(layout: str, file_header: bool) -> None:
    data = bitmap(layout, file_header=file_header)
    for part in (0.5, 0.9, 0.97):
        assert type(refusal(data[: int(part * len(data))])) is CorruptImageError


def test_the_size_of_bit_fields_is_checked() -> None:
    data = bitmap("32-bit 7187")
    error = refusal(data, ImageLimits(max_pixels=WIDTH * HEIGHT - 1))
    assert type(error) is ImageTooLargeError
    large = bytearray(data)
    large[18:26] = struct.pack("<ii", 60_000, 60_000)
    assert type(refusal(bytes(large))) is ImageTooLargeError


@pytest.mark.parametrize(
    "masks",
    [(0, 0, 0, 0), (0x5, 0xF0, 0xF00, 0), (0xFF0000, 0xFF00, 0xFF, 0)],
    ids=["none", "with gaps", "common"],
)
def test_only_bit_fields_that_are_rare_and_valid_are_rewritten(masks: tuple[int, ...]) -> None:
    values = np.zeros((HEIGHT, WIDTH), "<u4")
    assert with_common_layout(wrap(values, 32, masks, header=56)) is None


@pytest.mark.parametrize(
    ("depth", "compression", "kind"),
    [(64, 0, "64 bits"), (2, 0, "2 bits"), (24, 4, "compression"), (24, 5, "compression")],
)
def test_a_bitmap_of_a_rare_kind_is_unsupported_not_damaged(
    depth: int, compression: int, kind: str
) -> None:
    data = bytearray(encode(PHOTO, "BMP"))
    data[28:30] = struct.pack("<H", depth)
    data[30:34] = struct.pack("<I", compression)
    error = refusal(bytes(data))
    assert type(error) is UnsupportedImageError
    assert kind in str(error)


def test_a_run_length_bitmap_without_a_file_header_is_limited() -> None:
    data = run_lengths(8000, 8000, b"\1\5\0\0" * 8000 + b"\0\1")[14:]
    assert type(refusal(data)) is ImageTooLargeError
    error = refusal(run_lengths(2000, 2000, bytes(4_000_000))[14:])
    assert type(error) is CorruptImageError
    assert "DIB" in str(error)


def test_damaged_bit_fields_are_an_image_error_or_an_image() -> None:
    whole, rng = bitmap("32-bit 7187"), np.random.default_rng(0)
    for _ in range(100):
        data = bytearray(whole)
        for at in rng.integers(0, 70, 4):
            data[at] = rng.integers(256)
        try:
            image = decode_image(bytes(data), limits=ImageLimits(max_pixels=100_000))
        except (CorruptImageError, UnsupportedImageError, ImageTooLargeError):
            continue
        assert image.mode == "RGB"
    assert decode_image(whole).size == (WIDTH, HEIGHT)
    assert SIZE != (WIDTH, HEIGHT)
