"""Limits on photos, checked before a pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from PIL import Image

from model.imaging.avif import AvifStructureError, av1_sizes
from model.imaging.formats import CorruptImageError, ImageError, UnsupportedImageError
from model.imaging.heif import HeifStructureError, HeifVariantError, read_sizes

# Pillow decodes run lengths in Python: a 30 kB file of the largest size would take minutes.
_MAX_RUN_LENGTH_PIXELS: Final = 4_000_000
_BMP_RUN_LENGTHS: Final = (1, 2)
# A JPEG that is decoded at reduced scale may have this many times the pixels: phones' cameras reach
# 200 megapixels. Its entropy-coded data takes time for each.
_MAX_REDUCED_PIXELS_FACTOR: Final = 4
# libavif decodes one AV1 image per tile and one for the alpha plane, and keeps all in memory.
_MAX_AVIF_IMAGES_PIXELS_FACTOR: Final = 4
# Thumbnail, alpha, depth map and gain map come with the tiles.
_MAX_HEIC_TILES_PIXELS_FACTOR: Final = 4
# libheif holds the image in YUV and RGB, and pillow-heif a copy, besides Pillow's image.
_HEIC_PIXELS_PER_PIXEL: Final = 2


class ImageTooLargeError(ImageError):
    """An image with more pixels than the limit."""


class ImageTooSmallError(ImageError):
    """An image with a side shorter than the limit."""


@dataclass(frozen=True)
class ImageLimits:
    """Limits on an image.

    Attributes:
        max_pixels: Most pixels to decode: width × height, after the reduction of a JPEG.
        min_side: Shortest side allowed, in pixels.
        heif: True to accept HEIC photos, which needs pillow-heif.
    """

    max_pixels: int = 64_000_000
    min_side: int = 16
    heif: bool = False


DEFAULT_LIMITS: Final = ImageLimits()


def check_size(
    size: tuple[int, int], limits: ImageLimits, decoded: tuple[int, int] | None = None
) -> None:
    """Check the size of an image.

    Args:
        size: Width and height in the file, in pixels.
        limits: The limits.
        decoded: Width and height of a JPEG at its reduced scale; None if all pixels are decoded.

    Raises:
        ImageTooLargeError: More pixels than `limits.max_pixels` are decoded, or the file has more
            than four times as many.
        ImageTooSmallError: A side shorter than `limits.min_side`.
    """
    width, height = size
    reduced_width, reduced_height = decoded or size
    if reduced_width * reduced_height > limits.max_pixels:
        _check_pixels(width, height, limits.max_pixels)
    _check_pixels(width, height, _MAX_REDUCED_PIXELS_FACTOR * limits.max_pixels)
    if min(width, height) < limits.min_side:
        raise ImageTooSmallError(
            f"The image is {width}×{height} pixels; each side must have at least {limits.min_side}."
        )


def check_run_lengths(image: Image.Image) -> None:
    """Check the size of an opened image if it is a run-length encoded BMP.

    Raises:
        ImageTooLargeError: It has more than 4 million pixels.
    """
    width, height = image.size
    run_lengths = (
        image.format in ("BMP", "DIB") and image.info.get("compression") in _BMP_RUN_LENGTHS
    )
    if run_lengths and width * height > _MAX_RUN_LENGTH_PIXELS:
        raise ImageTooLargeError(
            f"The image is a run-length encoded BMP of {width}×{height} = {width * height:,} "
            f"pixels; the limit for these is {_MAX_RUN_LENGTH_PIXELS:,}."
        )


def avif_pixels(data: bytes, limits: ImageLimits) -> int:
    """Return the number of pixels that the AV1 decoder allocates for an AVIF.

    The container may state fewer.

    Raises:
        CorruptImageError: The AV1 stream is damaged.
        ImageTooLargeError: One AV1 image has more than `limits.max_pixels`, or all together have
            more than four times as many.
    """
    try:
        sizes = av1_sizes(data)
    except AvifStructureError as error:
        raise CorruptImageError(
            "The AVIF file is truncated or damaged and cannot be opened; choose another."
        ) from error
    for size in sizes:
        _check_pixels(size.width, size.height, limits.max_pixels)
    most = _MAX_AVIF_IMAGES_PIXELS_FACTOR * limits.max_pixels
    if sum(size.width * size.height for size in sizes) > most:
        raise ImageTooLargeError(f"The tiles of the AVIF have more than {most:,} pixels together.")
    return sum(size.max_pixels for size in sizes)


def heif_pixels(data: bytes, limits: ImageLimits) -> int:
    """Return the number of pixels that decoding a HEIC allocates.

    Raises:
        CorruptImageError: The container or the HEVC stream is damaged.
        UnsupportedImageError: It is neither one coded image nor a grid of tiles.
        ImageTooLargeError: One image has more than `limits.max_pixels`, or the tiles together have
            more than four times as many.
    """
    try:
        sizes = read_sizes(data)
    except HeifStructureError as error:
        raise CorruptImageError(
            "The HEIC file is truncated or damaged and cannot be opened; choose another."
        ) from error
    except HeifVariantError as error:
        raise UnsupportedImageError(
            "The HEIC file is neither one image nor a grid of tiles, as cameras write it; convert "
            "it to JPEG."
        ) from error
    for width, height in (*sizes.coded, *sizes.grids):
        _check_pixels(width, height, limits.max_pixels)
    total = sum(width * height for width, height in sizes.coded)
    if total > _MAX_HEIC_TILES_PIXELS_FACTOR * limits.max_pixels:
        raise ImageTooLargeError(f"The images of the HEIC have {total:,} pixels together.")
    largest = max(width * height for width, height in (*sizes.coded, *sizes.grids))
    return _HEIC_PIXELS_PER_PIXEL * largest


def _check_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise ImageTooLargeError(
            f"The image has {width}×{height} = {width * height:,} pixels; the limit is {most:,}."
        )
