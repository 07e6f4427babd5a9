"""Decoding of every accepted format to upright RGB."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from model.imaging.decode import decode_image
from tests.conftest import flower_image

SIZE = (96, 64)
Pixels = npt.NDArray[np.uint8]


def encode(image: Image.Image, format_name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def png(rows: npt.NDArray[Any], depth: int, color_type: int, transparent: bytes = b"") -> bytes:
    """Return a PNG of a kind that Pillow cannot write.

    Args:
        rows: Pixels (height, width, channels), big-endian.
        depth: Bits per channel.
        color_type: Color type of the IHDR chunk.
        transparent: Body of the tRNS chunk; empty for none.
    """

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image)


def decoded(data: bytes, **options: Any) -> Pixels:
    image = decode_image(data, **options)
    assert image.mode == "RGB"
    return pixels(image)


def assert_close(got: Pixels, expected: Pixels, mean: float = 4, largest: int = 45) -> None:
    assert got.shape == expected.shape
    difference = np.abs(got.astype(int) - expected)
    assert difference.mean() < mean
    assert difference.max() <= largest


def on_white(rgba: Pixels) -> Pixels:
    colors, alpha = rgba[..., :3].astype(float), rgba[..., 3:] / 255
    return np.rint(colors * alpha + 255 * (1 - alpha)).astype(np.uint8)


def fading_flower() -> Image.Image:
    """Return an RGBA image whose alpha runs from 0 to 255; its transparent edge is red."""
    rgba = np.dstack([pixels(flower_image(SIZE)), np.zeros(SIZE[::-1], np.uint8)])
    rgba[..., 3] = np.linspace(0, 255, SIZE[0]).astype(np.uint8)
    rgba[:, :8] = (255, 0, 0, 0)
    return Image.fromarray(rgba)


@pytest.mark.parametrize(
    ("format_name", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})],
)
def test_a_lossless_photo_keeps_every_pixel(format_name: str, options: dict[str, Any]) -> None:
    photo = flower_image(SIZE)
    assert np.array_equal(decoded(encode(photo, format_name, **options)), pixels(photo))


@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        ("JPEG", {"quality": 90}),
        ("JPEG", {"quality": 90, "progressive": True}),
        ("WEBP", {"quality": 90}),
        ("AVIF", {"quality": 90, "speed": 10}),
    ],
    ids=["baseline", "progressive", "webp", "avif"],
)
def test_a_lossy_photo_keeps_its_colors(format_name: str, options: dict[str, Any]) -> None:
    photo = flower_image(SIZE)
    assert_close(decoded(encode(photo, format_name, **options)), pixels(photo))


def test_a_multi_picture_file_gives_its_main_photo() -> None:
    photo, depth_map = flower_image(SIZE), Image.new("RGB", SIZE, "red")
    data = encode(photo, "MPO", save_all=True, append_images=[depth_map], quality=90)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert_close(decoded(data), pixels(photo))


def test_a_cmyk_jpeg_is_not_a_negative() -> None:
    photo = flower_image(SIZE)
    data = encode(photo.convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert_close(decoded(data), pixels(photo))


def test_an_adobe_ycck_jpeg_is_not_a_negative() -> None:
    # Photoshop stores inverted CMYK with the color transform of JPEG ("Adobe transform 2").
    # Pillow writes no transform (0), so convert the components here and set the flag.
    photo = flower_image(SIZE)
    components = [ImageOps.invert(c) for c in ImageOps.invert(photo).convert("YCbCr").split()]
    ycck = Image.merge("CMYK", [*components, Image.new("L", SIZE, 0)])
    data = bytearray(encode(ycck, "JPEG", quality=95, subsampling=0))
    flag = data.index(b"Adobe") + 11
    assert data[flag] == 0
    data[flag] = 2
    assert_close(decoded(bytes(data)), pixels(photo))


@pytest.mark.parametrize(
    ("format_name", "mode"),
    [("JPEG", "L"), ("PNG", "L"), ("PNG", "LA"), ("WEBP", "L"), ("AVIF", "L"), ("BMP", "L")],
)
def test_a_grayscale_photo_stays_gray(format_name: str, mode: str) -> None:
    gray = flower_image(SIZE).convert("L")
    got = decoded(encode(gray.convert(mode), format_name))
    assert_close(got, np.repeat(pixels(gray)[..., None], 3, axis=2))
    assert np.abs(got.astype(int) - got.mean(axis=2, keepdims=True)).max() < 1.5


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "GIF"])
@pytest.mark.parametrize("colors", [2, 16, 256])
def test_palette_colors_are_kept(format_name: str, colors: int) -> None:
    drawing = flower_image(SIZE).quantize(colors)
    expected = pixels(drawing.convert("RGB"))
    assert np.array_equal(decoded(encode(drawing, format_name)), expected)


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "GIF"])
def test_a_1_bit_image_is_black_and_white(format_name: str) -> None:
    drawing = flower_image(SIZE).convert("1")
    expected = np.repeat(pixels(drawing)[..., None].astype(np.uint8) * 255, 3, axis=2)
    assert np.array_equal(decoded(encode(drawing, format_name)), expected)


def test_a_16_bit_grayscale_image_keeps_its_shades() -> None:
    shades = np.linspace(0, 65535, SIZE[0] * SIZE[1]).astype(np.uint16).reshape(SIZE[::-1])
    data = encode(Image.fromarray(shades), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    expected = np.rint(shades / 257).astype(np.uint8)
    assert np.array_equal(decoded(data), np.repeat(expected[..., None], 3, axis=2))


def test_the_transparent_shade_of_a_16_bit_grayscale_image_becomes_white() -> None:
    shades = np.full((16, 16), 40_000, ">u2")
    shades[:, 8:] = 513
    got = decoded(png(shades, 16, 0, transparent=struct.pack(">H", 513)))
    assert (got[:, :8] == 156).all()
    assert (got[:, 8:] == 255).all()


def test_a_16_bit_color_image_keeps_its_colors() -> None:
    colors = np.zeros((16, 16, 3), ">u2")
    colors[:, :8], colors[:, 8:] = (0x1234, 0x5678, 0x9ABC), (65535, 0, 40000)
    assert_close(decoded(png(colors, 16, 2)), np.rint(colors / 257).astype(np.uint8), 1, 1)


def test_a_16_bit_image_with_alpha_is_composited_on_white() -> None:
    colors = np.zeros((16, 16, 4), ">u2")
    colors[:, :8], colors[:, 8:] = (65535, 257, 25700, 65535), (65535, 0, 0, 0)
    got = decoded(png(colors, 16, 6))
    assert (got[:, :8] == (255, 1, 100)).all()
    assert (got[:, 8:] == 255).all()


@pytest.mark.parametrize(
    ("format_name", "options", "largest"),
    [
        ("PNG", {}, 1),
        ("WEBP", {"lossless": True, "exact": True}, 1),
        ("WEBP", {"quality": 95}, 45),
        ("AVIF", {"quality": 95, "speed": 10}, 45),
    ],
    ids=["png", "webp-lossless", "webp", "avif"],
)
def test_transparency_fades_to_white_and_hides_colors(
    format_name: str, options: dict[str, Any], largest: int
) -> None:
    image = fading_flower()
    got = decoded(encode(image, format_name, **options))
    assert_close(got, on_white(pixels(image)), largest=largest)
    assert (got[:, :4] >= 250).all()


def test_grayscale_with_alpha_fades_to_white() -> None:
    image = fading_flower().convert("LA")
    expected = on_white(pixels(image.convert("RGBA")))
    assert_close(decoded(encode(image, "PNG")), expected, mean=1, largest=1)


@pytest.mark.parametrize("format_name", ["PNG", "GIF"])
def test_a_transparent_palette_entry_becomes_white(format_name: str) -> None:
    drawing = Image.new("P", SIZE, 0)
    drawing.putpalette([255, 0, 0, 0, 0, 255])
    drawing.paste(1, (48, 0, 96, 64))
    got = decoded(encode(drawing, format_name, transparency=0))
    assert (got[:, :48] == 255).all()
    assert (got[:, 48:] == (0, 0, 255)).all()


def test_a_palette_with_an_alpha_for_each_entry_fades_to_white() -> None:
    drawing = Image.new("P", SIZE, 0)
    drawing.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0])
    drawing.paste(1, (32, 0, 64, 64))
    drawing.paste(2, (64, 0, 96, 64))
    got = decoded(encode(drawing, "PNG", transparency=bytes([0, 51, 255])))
    assert (got[:, :32] == 255).all()
    assert (got[:, 32:64] == (204, 204, 255)).all()
    assert (got[:, 64:] == (0, 255, 0)).all()


def test_a_color_declared_transparent_becomes_white() -> None:
    photo = Image.new("RGB", SIZE, (10, 20, 30))
    photo.paste((200, 0, 0), (0, 0, 48, 64))
    got = decoded(encode(photo, "PNG", transparency=(200, 0, 0)))
    assert (got[:, :48] == 255).all()
    assert (got[:, 48:] == (10, 20, 30)).all()


@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        ("GIF", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 90, "speed": 10}),
    ],
)
def test_an_animation_gives_its_first_frame(format_name: str, options: dict[str, Any]) -> None:
    first, second = flower_image(SIZE), Image.new("RGB", SIZE, "red")
    data = encode(first, format_name, save_all=True, append_images=[second], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 2
    assert_close(decoded(data), pixels(first), mean=8, largest=80)


# Stored image of an upright scene, by EXIF orientation. The comments name the sides of the scene
# in the first row and the first column of the file.
STORED = {
    1: lambda scene: scene,  # top, left
    2: lambda scene: scene[:, ::-1],  # top, right
    3: lambda scene: scene[::-1, ::-1],  # bottom, right
    4: lambda scene: scene[::-1],  # bottom, left
    5: lambda scene: scene.swapaxes(0, 1),  # left, top
    6: lambda scene: scene[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda scene: scene[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda scene: scene[::-1].swapaxes(0, 1),  # left, bottom
}


@pytest.mark.parametrize("format_name", ["JPEG", "MPO", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_rotated_photo_is_decoded_upright(orientation: int, format_name: str) -> None:
    scene = pixels(flower_image(SIZE))
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](scene)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, format_name, exif=exif, quality=90)
    assert_close(decoded(data), scene)
    assert_close(decoded(data, target_side=300), scene)


def test_an_invalid_orientation_is_ignored() -> None:
    photo, exif = flower_image(SIZE), Image.Exif()
    exif[0x0112] = 9
    assert np.array_equal(decoded(encode(photo, "PNG", exif=exif)), pixels(photo))


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_a_photo_with_a_damaged_exif_block_is_decoded(format_name: str) -> None:
    photo, exif = flower_image(SIZE), Image.Exif()
    exif[0x010F], exif[0x011A], exif[0x8769] = "Petal", 72.0, {0x9003: "2024:05:01 12:00:00"}
    good, rng = exif.tobytes(), np.random.default_rng(0)
    blocks = [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", good[:20]]
    for first, second in rng.integers(6, len(good), (60, 2)):
        damaged = bytearray(good)
        damaged[first] = damaged[second] = 0xFF
        blocks.append(bytes(damaged))
    for block in blocks:
        got = decoded(encode(photo, format_name, exif=block, quality=90))
        assert_close(got, pixels(photo))


@pytest.mark.slow
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_big_jpeg_is_decoded_at_reduced_scale(progressive: bool, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = flower_image((1600, 1200))
    data = encode(photo, "JPEG", quality=90, progressive=progressive, exif=exif)
    full, reduced = decode_image(data), decode_image(data, target_side=200)
    assert sorted(full.size) == [1200, 1600]
    assert sorted(reduced.size) == [300, 400]
    assert reduced.size == tuple(side // 4 for side in full.size)
    averaged = full.reduce(4)
    assert_close(pixels(reduced), pixels(averaged), mean=0.5, largest=8)


@pytest.mark.parametrize(
    "target_side", [1, 16, 37, 50, 75, 100, 149, 150, 151, 240, 241, 300, 600, 5000]
)
def test_reduced_scale_keeps_a_quarter_more_than_the_target(target_side: int) -> None:
    data = encode(flower_image((803, 602)), "JPEG")
    width, height = decode_image(data, target_side=target_side).size
    assert min(width, height) >= min(1.25 * target_side, 602)
    assert width / height == pytest.approx(803 / 602, rel=0.02)


def test_a_cmyk_jpeg_keeps_its_colors_at_reduced_scale() -> None:
    data = encode(flower_image((800, 600)).convert("CMYK"), "JPEG", quality=90)
    reduced, full = decode_image(data, target_side=200), decode_image(data)
    assert reduced.size == (400, 300)
    assert_close(pixels(reduced), pixels(full.reduce(2)), mean=0.7, largest=8)


def test_other_formats_are_decoded_at_full_scale() -> None:
    photo = flower_image((800, 600))
    assert np.array_equal(decoded(encode(photo, "PNG"), target_side=20), pixels(photo))


def test_a_path_and_its_bytes_give_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(flower_image(SIZE), "JPEG"))
    assert np.array_equal(pixels(decode_image(path)), pixels(decode_image(path.read_bytes())))
