"""Antialiased resizing of a part of an image.

cykooz.resizer (fast_image_resize, SIMD) takes less processor time than Pillow and gives the same
values up to rounding. It has no wheels for Linux on ARM, so Pillow resizes there.
"""

from __future__ import annotations

from typing import Final

from PIL import Image

try:
    from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
except ModuleNotFoundError:
    HAS_RESIZER = False
else:
    HAS_RESIZER = True

INTERPOLATIONS: Final = ("bicubic", "bilinear")

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of an image; fractions are allowed."""


def resize(image: Image.Image, size: tuple[int, int], interpolation: str, box: Box) -> Image.Image:
    """Return a part of an RGB image, resized along one axis.

    Resizing both axes at once would round differently: the two libraries choose the order of the
    axes in their own ways, and round in between.

    Args:
        image: Image of mode RGB, which stays unchanged.
        size: Width and height of the result, in pixels; one of them is that of `box`.
        interpolation: One of `INTERPOLATIONS`.
        box: The part. Filters at its edges also reach pixels around it.
    """
    if not HAS_RESIZER:
        return image.resize(size, Image.Resampling[interpolation.upper()], box)
    left, top, right, bottom = box
    kind = FilterType.catmull_rom if interpolation == "bicubic" else FilterType.bilinear
    options = ResizeOptions(
        ResizeAlg.convolution(kind), crop_box=CropBox(left, top, right - left, bottom - top)
    )
    result = Image.new("RGB", size, None)  # not filled with black first
    # A resizer has buffers of its own, so threads cannot share one.
    Resizer().resize_pil(image, result, options)
    return result
