"""Conversion of a decoded image to upright 8-bit sRGB on a white background."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image, ImageOps

from model.imaging.color import to_srgb

_BACKGROUND: Final = (255, 255, 255)
# EXIF can be built to take longer than the pixels; cameras write a fraction of this.
_MAX_EXIF_BYTES: Final = 1024 * 1024
_EXIF_KEYS: Final = ("exif", "Raw profile type exif")
# Pixels composited at a time: the RGBA layers of a large image would take gigabytes.
_STRIP_PIXELS: Final = 1_000_000


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image of any mode in sRGB, turned by its EXIF orientation.

    The ICC profile is applied and removed. Transparent pixels become white, 16-bit gray becomes
    8-bit. The result does not depend on the image's file.
    """
    profile = image.info.get("icc_profile")
    image = _upright(image)
    if image.mode.startswith("I"):
        image = _eight_bit(image)
    if image.has_transparency_data:
        return _on_background(image, profile)
    image = to_srgb(_without_palette(image), profile)
    if image.mode != "RGB":
        image = image.convert("RGB")
    # A file saved from the image must not have the profile of other colors.
    image.info.pop("icc_profile", None)
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Return an image turned by the EXIF orientation; an unreadable EXIF block is ignored.

    The result is a copy, unless it is a JPEG that is not turned.
    """
    for key in _EXIF_KEYS:
        if len(image.info.get(key) or "") > _MAX_EXIF_BYTES:
            del image.info[key]
    try:
        if image.format != "JPEG":  # other decoders keep memory as long as their image exists
            return ImageOps.exif_transpose(image)
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:
        return image.copy()
    return image


def _without_palette(image: Image.Image) -> Image.Image:
    """Return an image of mode P or 1 in RGB or L, which have profiles; others unchanged."""
    modes = {"P": "RGB", "1": "L"}
    return image.convert(modes[image.mode]) if image.mode in modes else image


def _on_background(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Composite on white: `convert("RGB")` would show the colours of transparent pixels."""
    width, height = image.size
    result = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = _with_alpha(image.crop((0, top, width, min(top + rows, height))), profile)
        background = Image.new("RGBA", strip.size, (*_BACKGROUND, 255))
        result.paste(Image.alpha_composite(background, strip).convert("RGB"), (0, top))
    return result


def _with_alpha(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image with transparency to sRGB, mode RGBA."""
    colors = image.convert("RGBA")
    if image.mode not in ("1", "L", "LA"):
        return to_srgb(colors, profile)
    result = to_srgb(colors.getchannel("R"), profile).convert("RGB")
    result.putalpha(colors.getchannel("A"))
    return result


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 8 bits: `convert("RGB")` would clip values above 255 to white."""
    gray = np.array(image, dtype=np.uint32)
    if (transparent := image.info.get("transparency")) is not None:
        gray[gray == transparent] = 65535
    # Round(gray / 257) in integers, because a float array would take twice the memory.
    gray *= 255
    gray += 32895
    gray >>= 16
    return Image.fromarray(gray.astype(np.uint8))
