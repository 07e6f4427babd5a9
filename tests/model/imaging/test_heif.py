"""HEIC photos: sizes in the HEVC stream, decoding, and refusals."""

from __future__ import annotations

import struct
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.imaging.decode import decode_image
from model.imaging.formats import (
    FORMAT_NAMES,
    CorruptImageError,
    HeicDisabledError,
    ImageError,
    UnsupportedImageError,
    format_names,
)
from model.imaging.heif import HeifStructureError, HeifVariantError, read_sizes, register
from model.imaging.limits import ImageLimits, ImageTooLargeError, ImageTooSmallError
from tests.conftest import flower_image
from tests.model.imaging.profiles import DISPLAY_P3, converted, display_p3_converted, rgb_profile
from tests.model.imaging.test_color import with_description
from tests.model.imaging.test_decode import assert_close, encode, fading_flower, on_white, pixels
from tests.model.imaging.test_decode_refused import damaged, refusal

HEIC = ImageLimits(heif=True)
SIZE = (160, 128)  # multiples of 64, so that the decoder adds no margin
PHOTO = flower_image(SIZE)


def heic(image: Image.Image = PHOTO, **options: Any) -> bytes:
    register()
    return encode(image, "HEIF", **{"quality": 90, "chroma": 444, **options})


STILL = heic()
TILED = heic(tile_size=64)


def decoded(data: bytes, **options: Any) -> Any:
    image = decode_image(data, limits=HEIC, **options)
    assert image.mode == "RGB"
    return pixels(image)


@pytest.mark.parametrize("options", [{}, {"tile_size": 64}, {"chroma": 420}], ids=str)
def test_a_photo_keeps_its_colors(options: dict[str, Any]) -> None:
    assert_close(decoded(heic(**options)), pixels(PHOTO), largest=60)


def test_a_gray_photo_stays_gray() -> None:
    gray = PHOTO.convert("L")
    assert_close(decoded(heic(gray)), np.repeat(pixels(gray)[..., None], 3, axis=2))


def test_transparency_fades_to_white() -> None:
    image = fading_flower()
    assert_close(decoded(heic(image)), on_white(pixels(image)), largest=70)


def test_a_rotated_photo_is_decoded_upright_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = heic(exif=exif.tobytes())
    assert b"irot" in data
    assert_close(decoded(data), np.rot90(pixels(PHOTO), -1), largest=60)


def test_a_photo_is_converted_to_srgb() -> None:
    data = heic(icc_profile=rgb_profile(DISPLAY_P3, 2.2))
    assert_close(decoded(data), converted(pixels(PHOTO), DISPLAY_P3, 2.2), largest=60)


def test_a_photo_described_as_display_p3_is_converted_to_srgb() -> None:
    got = decoded(with_description(STILL, 12, 13))
    assert_close(got, display_p3_converted(decoded(STILL)), mean=1, largest=3)


def test_the_main_photo_of_several_is_decoded() -> None:
    data = heic(save_all=True, append_images=[flower_image((64, 64), seed=1)])
    assert_close(decoded(data), pixels(PHOTO), largest=60)


def test_exif_that_is_slow_to_parse_is_not_parsed() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0xC000] = 6, bytes(2_000_000)
    assert decoded(heic(exif=exif.tobytes())).shape[:2] == SIZE


def test_without_the_setting_a_heic_is_refused_by_its_own_error() -> None:
    for data in (STILL, b"\0\0\0\x24ftypmif1\0\0\0\0mif1heic" + bytes(500)):
        error = refusal(data)
        assert type(error) is HeicDisabledError
        assert FORMAT_NAMES in str(error)


def test_the_names_of_the_formats_include_heic_with_the_setting() -> None:
    assert format_names(heif=False) == FORMAT_NAMES
    assert "HEIC" in format_names(heif=True)
    assert type(refusal(b"a rose", HEIC)) is UnsupportedImageError
    assert format_names(heif=True) in str(refusal(b"a rose", HEIC))


def test_the_sizes_of_images_and_grids_are_read() -> None:
    assert read_sizes(STILL).coded == [SIZE]
    assert read_sizes(STILL).grids == []
    assert read_sizes(TILED).coded == [(64, 64)] * 6
    assert read_sizes(TILED).grids == [SIZE]
    assert read_sizes(heic(fading_flower())).coded == [(96, 64)] * 2


def test_the_size_of_the_container_is_ignored() -> None:
    stated = struct.pack(">II", *SIZE)
    small = STILL.replace(
        b"ispe" + bytes(4) + stated, b"ispe" + bytes(4) + struct.pack(">II", 16, 16)
    )
    assert small != STILL
    assert read_sizes(small).coded == [SIZE]
    limits = ImageLimits(max_pixels=SIZE[0] * SIZE[1] - 1, heif=True)
    assert type(refusal(small, limits)) is ImageTooLargeError


def test_a_parameter_set_in_the_stream_is_read() -> None:
    # A decoder takes the size from the last parameter set that it gets.
    large = heic(flower_image((640, 512)))
    configuration = large[large.index(b"hvcC") + 4 :]
    at = next(
        at
        for at in range(23, 200)
        if configuration[at] >> 1 & 63 == 33
        and configuration[at - 2 : at] == struct.pack(">H", configuration[at - 1])
    )
    unit = configuration[at : at + configuration[at - 1]]
    data = bytearray(STILL)
    start = data.index(b"mdat") + 4
    data[start : start + 4 + len(unit)] = struct.pack(">I", len(unit)) + unit
    # The rest of the first unit is now a unit that ends early.
    rest = start + 4 + len(unit)
    data[rest : rest + 4] = struct.pack(">I", len(data) - rest - 4)
    assert read_sizes(bytes(data)).coded == [(640, 512)]


@pytest.mark.parametrize(
    "data", [STILL, TILED, heic(fading_flower())], ids=["still", "tiled", "alpha"]
)
def test_too_many_pixels_are_refused_before_one_is_decoded(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("the file was opened"))
    assert type(refusal(data, ImageLimits(max_pixels=1000, heif=True))) is ImageTooLargeError


def test_tiles_have_a_common_limit() -> None:
    data = heic(flower_image((512, 512)), tile_size=64)
    canvas = data.index(struct.pack(">HHHH", 0, 7 << 8 | 7, 512, 512))
    small = bytearray(data)
    small[canvas + 4 : canvas + 8] = struct.pack(">HH", 64, 64)
    assert (
        type(refusal(bytes(small), ImageLimits(max_pixels=5000, heif=True))) is ImageTooLargeError
    )


def test_a_side_below_16_pixels_is_refused() -> None:
    assert type(refusal(heic(flower_image((15, 200))), HEIC)) is ImageTooSmallError


def test_the_decode_limiter_gets_twice_the_pixels() -> None:
    acquired: list[int] = []

    def acquire(pixels: int) -> nullcontext[None]:
        acquired.append(pixels)
        return nullcontext()

    decoded(STILL, acquire=acquire)
    decoded(TILED, acquire=acquire)
    assert acquired == [2 * SIZE[0] * SIZE[1]] * 2


@pytest.mark.parametrize(
    "data",
    [
        STILL[:40],
        STILL[:200],
        STILL.replace(b"hvcC", b"free"),
        STILL.replace(b"pitm", b"free"),
        STILL.replace(b"iinf", b"free"),
    ],
    ids=["its start", "its first boxes", "no configuration", "no primary image", "no items"],
)
def test_a_damaged_photo_is_refused(data: bytes) -> None:
    with pytest.raises(HeifStructureError):
        read_sizes(data)
    assert type(refusal(data, HEIC)) is CorruptImageError


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.9])
def test_a_truncated_photo_is_refused(part: float) -> None:
    for data in (STILL, TILED):
        assert type(refusal(data[: int(part * len(data))], HEIC)) is CorruptImageError


def variants() -> dict[str, bytes]:
    return {
        "AV1 in HEIF": encode(PHOTO, "AVIF", speed=10).replace(b"ftypavif", b"ftypmif1", 1),
        "an overlay": TILED.replace(b"grid", b"iovl"),
        "an uncompressed image": STILL.replace(b"hvc1", b"unci"),
    }


@pytest.mark.parametrize("kind", ["AV1 in HEIF", "an overlay", "an uncompressed image"])
def test_what_no_camera_writes_is_unsupported_not_damaged(kind: str) -> None:
    data = variants()[kind]
    with pytest.raises(HeifVariantError):
        read_sizes(data)
    assert type(refusal(data, HEIC)) is UnsupportedImageError


def test_a_tile_that_is_used_twice_is_unsupported() -> None:
    at = TILED.index(b"dimg") + 8  # after the grid's id and the number of tiles
    assert TILED[at - 2 : at] == struct.pack(">H", 6)
    data = bytearray(TILED)
    data[at + 2 : at + 4] = data[at : at + 2]
    with pytest.raises(HeifVariantError):
        read_sizes(bytes(data))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["still", "tiled"])
def test_damaged_photos_are_decoded_or_an_image_error(name: str) -> None:
    limits = ImageLimits(max_pixels=500_000, heif=True)
    whole, rng = {"still": STILL, "tiled": TILED}[name], np.random.default_rng(0)
    outcomes = set()
    for turn in range(200):
        data = damaged(whole, turn, rng, header=600)
        try:
            image = decode_image(data, limits=limits)
        except ImageError as error:
            outcomes.add(type(error))
        else:
            assert image.mode == "RGB"
    assert CorruptImageError in outcomes
