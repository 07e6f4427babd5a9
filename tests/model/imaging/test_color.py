"""Conversion of photos with an ICC profile to sRGB."""

from __future__ import annotations

import io
import struct
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from model.imaging.color import to_srgb
from model.imaging.decode import decode_image
from tests.conftest import flower_image
from tests.model.imaging.profiles import (
    DISPLAY_P3,
    INKS,
    PRO_PHOTO,
    SRGB,
    Matrix,
    cmyk_profile,
    converted,
    display_p3_converted,
    gray_converted,
    gray_profile,
    rgb_profile,
)
from tests.model.imaging.test_decode import (
    SIZE,
    Pixels,
    assert_close,
    decoded,
    encode,
    fading_flower,
    on_white,
    pixels,
)

PHOTO = flower_image(SIZE)
P3 = rgb_profile(DISPLAY_P3, 2.2)
SPACES: dict[str, tuple[Matrix, float]] = {
    "Display P3": (DISPLAY_P3, 2.2),
    "ProPhoto": (PRO_PHOTO, 1.8),
    "sRGB primaries with another gamma": (SRGB, 1.8),
}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the input mode of each transform that is built."""
    modes: list[str] = []
    build = ImageCms.ImageCmsTransform

    def count(*arguments: Any, **options: Any) -> ImageCms.ImageCmsTransform:
        modes.append(arguments[2])
        return build(*arguments, **options)

    monkeypatch.setattr(ImageCms, "ImageCmsTransform", count)
    return modes


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("format_name", "options", "largest"),
    [
        ("PNG", {}, 2),
        ("WEBP", {"lossless": True}, 2),
        ("JPEG", {"quality": 98, "subsampling": 0}, 30),
        ("AVIF", {"quality": 98, "speed": 10, "subsampling": "4:4:4"}, 45),
    ],
    ids=["png", "webp", "jpeg", "avif"],
)
def test_a_photo_is_converted_to_srgb(
    format_name: str, options: dict[str, Any], largest: int, space: str
) -> None:
    matrix, gamma = SPACES[space]
    data = encode(PHOTO, format_name, icc_profile=rgb_profile(matrix, gamma), **options)
    expected = converted(pixels(PHOTO), matrix, gamma)
    assert np.abs(expected.astype(int) - pixels(PHOTO)).max() > 10
    assert_close(decoded(data), expected, mean=2.5, largest=largest)


@pytest.mark.parametrize("orientation", [1, 6])
def test_reduced_and_rotated_photos_are_converted(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = flower_image((800, 600))
    plain, wide = (
        encode(photo, "JPEG", quality=95, exif=exif, icc_profile=profile) for profile in (None, P3)
    )
    given = decoded(plain, target_side=200)
    got = decoded(wide, target_side=200)
    assert sorted(got.shape) == [3, 300, 400]
    assert_close(got, converted(given, DISPLAY_P3, 2.2), mean=1, largest=3)


def with_description(data: bytes, primaries: int, transfer: int) -> bytes:
    """Change the color description (nclx) of an AVIF or HEIC, which its encoder set to sRGB."""
    at = data.index(b"nclx") + 4
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


AVIF = encode(PHOTO, "AVIF", quality=98, speed=10, subsampling="4:4:4")


@pytest.mark.parametrize("transfer", [1, 13])
def test_an_avif_described_as_display_p3_is_converted(transfer: int) -> None:
    got = decoded(with_description(AVIF, 12, transfer))
    assert_close(got, display_p3_converted(decoded(AVIF)), mean=1, largest=3)


def test_bt_2020_is_wider_than_display_p3() -> None:
    red = encode(Image.new("RGB", SIZE, (180, 90, 90)), "AVIF", quality=98, speed=10)
    plain, p3, bt_2020 = (
        decoded(with_description(red, primaries, 13))[0, 0].astype(int) for primaries in (1, 12, 9)
    )
    assert plain[0] < p3[0] < bt_2020[0]
    assert plain[1] > p3[1] > bt_2020[1]


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (2, 2), (9, 16), (12, 18), (99, 13)])
def test_other_descriptions_change_no_pixel(primaries: int, transfer: int) -> None:
    got = decoded(with_description(AVIF, primaries, transfer))
    assert np.array_equal(got, decoded(AVIF))


def test_a_profile_overrides_the_description() -> None:
    data = encode(PHOTO, "AVIF", quality=98, speed=10, subsampling="4:4:4", icc_profile=P3)
    got = decoded(data)
    assert_close(got, converted(decoded(AVIF), DISPLAY_P3, 2.2), mean=1, largest=8)


@pytest.mark.parametrize("variant", ["LittleCMS", "matrix"])
def test_an_srgb_profile_changes_no_pixel(variant: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if variant == "matrix":
        # 1,024 points, as in the profile that most cameras and editors embed.
        levels = np.linspace(0, 1, 1024)
        curve = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        profile = rgb_profile(SRGB, np.rint(curve * 65535).astype(">u2"))
    data = encode(PHOTO, "PNG", icc_profile=profile)
    assert np.array_equal(decoded(data), pixels(PHOTO))


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_a_gray_photo_is_converted_by_its_profile(mode: str) -> None:
    gray = PHOTO.convert("L")
    image = (
        gray.convert(mode)
        if mode != "I;16"
        else Image.fromarray(pixels(gray).astype(np.uint16) * 257)
    )
    shades = pixels(image.convert("L") if mode != "I;16" else gray)
    data = encode(image, "PNG", icc_profile=gray_profile(1.4))
    expected = gray_converted(shades, 1.4)
    assert_close(decoded(data), np.repeat(expected[..., None], 3, axis=2), 1, 2)


def test_the_transparent_shade_of_a_gray_photo_stays_transparent() -> None:
    image = Image.new("L", SIZE, 90)
    image.paste(200, (0, 0, 48, 64))
    got = decoded(encode(image, "PNG", transparency=200, icc_profile=gray_profile(1.4)))
    assert (got[:, :48] == 255).all()
    assert np.abs(got[:, 48:].astype(int) - int(gray_converted(np.array(90), 1.4))).max() <= 2


@pytest.mark.parametrize("ink", INKS)
def test_a_cmyk_photo_is_converted_by_its_profile(ink: str) -> None:
    levels = [255 * (name == ink) for name in "CMYK"]
    image = Image.new("CMYK", SIZE, tuple(levels))
    image.paste((0, 0, 0, 0), (0, 0, 48, 64))
    got = decoded(encode(image, "JPEG", quality=100, icc_profile=cmyk_profile()))
    assert (got[:, :40] > 250).all()
    # Black becomes the black of sRGB, by black point compensation.
    expected = np.array(INKS[ink] if ink != "K" else (20, 20, 20))
    assert np.abs(got[:, 56:].astype(int) - expected).max() <= 25


def test_palette_colors_are_converted() -> None:
    drawing = PHOTO.quantize(16)
    expected = converted(pixels(drawing.convert("RGB")), DISPLAY_P3, 2.2)
    assert_close(decoded(encode(drawing, "PNG", icc_profile=P3)), expected, 1, 2)


def test_transparent_photos_are_converted_before_they_are_composited() -> None:
    image = fading_flower()
    rgba = pixels(image).copy()
    rgba[..., :3] = converted(rgba[..., :3], DISPLAY_P3, 2.2)
    assert_close(decoded(encode(image, "PNG", icc_profile=P3)), on_white(rgba), 1, 3)


def test_a_color_declared_transparent_is_compared_before_the_conversion() -> None:
    image = Image.new("RGB", SIZE, (10, 20, 30))
    image.paste((200, 0, 0), (0, 0, 48, 64))
    got = decoded(encode(image, "PNG", transparency=(200, 0, 0), icc_profile=P3))
    assert (got[:, :48] == 255).all()


def test_the_result_has_no_profile() -> None:
    for profile in (P3, b"broken"):
        for image in (PHOTO, fading_flower()):
            result = decode_image(encode(image, "PNG", icc_profile=profile))
            file = io.BytesIO()
            result.save(file, "PNG")
            assert "icc_profile" not in Image.open(file).info


def unusable_profiles() -> dict[str, bytes]:
    noise = np.random.default_rng(0)
    damaged = bytearray(P3)
    damaged[140:200] = noise.bytes(60)
    return {
        "noise": noise.bytes(3000),
        "no bytes": b"",
        "a word": b"ICC",
        "its first half": P3[: len(P3) // 2],
        "damaged tags": bytes(damaged),
        "no primaries": rgb_profile(np.zeros((3, 3)), 2.2),
        "another color space": gray_profile(1.4),
        "many inks": cmyk_profile(),
        "over 4 MiB": P3 + bytes(4 * 1024 * 1024),
    }


@pytest.mark.parametrize("kind", unusable_profiles())
def test_an_unusable_profile_is_ignored(kind: str) -> None:
    profile = unusable_profiles()[kind]
    image = to_srgb(PHOTO.copy(), profile)
    assert np.array_equal(pixels(image), pixels(PHOTO))
    data = encode(PHOTO, "WEBP", lossless=True, icc_profile=profile)
    assert np.array_equal(decoded(data), pixels(PHOTO))


@pytest.mark.slow
def test_damaged_profiles_never_fail() -> None:
    rng = np.random.default_rng(0)
    for profile in (P3, cmyk_profile(), gray_profile(1.4)):
        image = PHOTO.convert({b"RGB ": "RGB", b"CMYK": "CMYK", b"GRAY": "L"}[profile[16:20]])
        for _ in range(60):
            damaged = bytearray(profile)
            for at in rng.integers(0, len(damaged), 3):
                damaged[at] = rng.integers(256)
            assert to_srgb(image.copy(), bytes(damaged)).size == SIZE


def test_a_transform_is_built_once_per_profile_and_mode(built: list[str]) -> None:
    profile = rgb_profile(DISPLAY_P3, 2.125)
    for _ in range(3):
        to_srgb(PHOTO.copy(), profile)
        to_srgb(PHOTO.convert("RGBA"), profile)
    assert sorted(built) == ["RGB", "RGBA"]


def test_the_number_of_cached_transforms_is_bounded(built: list[str]) -> None:
    first = rgb_profile(DISPLAY_P3, 1.5)
    to_srgb(PHOTO.copy(), first)
    for number in range(100):
        to_srgb(PHOTO.copy(), rgb_profile(DISPLAY_P3, 1.6 + number / 256))
    del built[:]
    to_srgb(PHOTO.copy(), first)
    assert built == ["RGB"]


def test_threads_share_transforms() -> None:
    results: list[Pixels] = []

    def convert() -> None:
        for _ in range(20):
            results.append(pixels(to_srgb(PHOTO.copy(), P3)))

    threads = [threading.Thread(target=convert) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 160
    assert all(np.array_equal(result, results[0]) for result in results)
