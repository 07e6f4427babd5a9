"""Conversion of a decoded image to upright 8-bit RGB on a white background."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image, ImageOps

_BACKGROUND: Final = (255, 255, 255)
# EXIF can be built to take longer than the pixels; cameras write a fraction of this.
_MAX_EXIF_BYTES: Final = 1024 * 1024
_EXIF_KEYS: Final = ("exif", "Raw profile type exif")
# Pixels composited at a time: the RGBA layers of a large image would take gigabytes.
_STRIP_PIXELS: Final = 1_000_000


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image of any mode as RGB, turned by its EXIF orientation.

    Transparent pixels become white, 16-bit grey becomes 8-bit. The result does not depend on the
    image's file.
    """
    image = _upright(image)
    if image.mode.startswith("I"):
        image = _eight_bit(image)
    if image.has_transparency_data:
        return _on_background(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Return a copy, turned by the EXIF orientation; an unreadable EXIF block is ignored."""
    for key in _EXIF_KEYS:
        if len(image.info.get(key, "")) > _MAX_EXIF_BYTES:
            del image.info[key]
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:
        return image.copy()


def _on_background(image: Image.Image) -> Image.Image:
    """Composite on white: `convert("RGB")` would show the colours of transparent pixels."""
    width, height = image.size
    result = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height))).convert("RGBA")
        background = Image.new("RGBA", strip.size, (*_BACKGROUND, 255))
        result.paste(Image.alpha_composite(background, strip).convert("RGB"), (0, top))
    return result


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits: `convert("RGB")` would clip values above 255 to white."""
    grey = np.array(image, dtype=np.uint32)
    if (transparent := image.info.get("transparency")) is not None:
        grey[grey == transparent] = 65535
    # Round(grey / 257) in integers, because a float array would take twice the memory.
    grey *= 255
    grey += 32895
    grey >>= 16
    return Image.fromarray(grey.astype(np.uint8))
