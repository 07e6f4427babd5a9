"""Photo decoding: file bytes to an upright RGB image, or an error that names the cause.

Training, evaluation, the command line and the service all decode here, so a photo gives the same
pixels everywhere.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops, ImageFile

from model.imaging import bmp, heif, jpeg, png
from model.imaging.color import coded_profile
from model.imaging.decode_guard import MeteredFile, OddStructureError, without_exif_item
from model.imaging.formats import (
    FORMATS,
    HEIF_FORMAT,
    CorruptImageError,
    HeicDisabledError,
    ImageError,
    UnsupportedImageError,
    accepted_kind,
    format_names,
    is_heic,
    refused_kind,
)
from model.imaging.iso_media import color_description
from model.imaging.limits import (
    DEFAULT_LIMITS,
    ImageLimits,
    avif_pixels,
    check_run_lengths,
    check_size,
    heif_pixels,
)
from model.imaging.rgb import upright_rgb
from model.regular_file import read_regular_file

# A reduced JPEG keeps at least this multiple of the target side: accuracy is that of full decoding
# (docs/accuracy.md, E16).
_DRAFT_OVERSAMPLING: Final = 1.25
# A decoded pixel takes 8 bytes, in the image and its turned copy. A coefficient takes 2.
_COEFFICIENTS_PER_PIXEL: Final = 4
# Pillow's error for an AVIF that is decoded, but whose colors libavif cannot convert to RGB.
_AVIF_MATRIX_ERROR: Final = "Conversion from YUV failed"
# Opening an AVIF parses its EXIF, which can take longer than the pixels.
_MAX_AVIF_BYTES_WITH_EXIF: Final = 1024 * 1024
_WARNINGS_FILTER: Final = ("ignore", None, UserWarning, re.compile(r"PIL\."), 0)

# `limits` checks sizes before decoding; Pillow's own limit may be lower.
Image.MAX_IMAGE_PIXELS = None
# The allocator returns blocks of this size to the system. Pillow's default of 16 MiB stays with the
# threads that allocated it, which adds up to over a gigabyte.
Image.core.set_block_size(64 * 1024 * 1024)  # type: ignore[attr-defined]

Acquire = Callable[[int], AbstractContextManager[None]]
"""Returns a context that holds memory for a number of pixels."""


def _acquire_nothing(pixels: int) -> AbstractContextManager[None]:
    return nullcontext()


def decode_image(
    source: bytes | Path,
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    target_side: int | None = None,
    acquire: Acquire = _acquire_nothing,
) -> Image.Image:
    """Decode one photo.

    Args:
        source: The file's bytes, or its path.
        limits: Limits on the size, and whether HEIC is accepted.
        target_side: Length of the shorter side, in pixels, that the caller will resize to. A JPEG
            is then decoded at 1/2, 1/4 or 1/8 scale if that leaves at least 1.25 times as many.
            None decodes at full size.
        acquire: Called before decoding with the number of pixels that decoding allocates; its
            context is held while decoding. Its exceptions propagate.

    Returns:
        The first frame in sRGB and mode RGB, turned by its EXIF orientation, on a white background.

    Raises:
        UnsupportedImageError: The file is in none of `FORMATS`, or in a variant that is not
            decoded, such as a JPEG of 12 bits.
        CorruptImageError: The file is empty, truncated or damaged, or has many more parts than any
            encoder writes.
        ImageTooLargeError: More pixels than `limits` allow, see `check_size`.
        ImageTooSmallError: A side shorter than `limits.min_side`.
        OSError: `source` is a path that cannot be read, or no regular file.
    """
    data = read_regular_file(source) if isinstance(source, Path) else source
    if not data:
        raise CorruptImageError("The file is empty.")
    _ignore_warnings()
    try:
        return _decode(data, limits, target_side, acquire)
    except OddStructureError as error:
        kind = accepted_kind(data, limits.heif) or "DIB"  # which has no signature
        raise CorruptImageError(f"The {kind} image is {error}.") from error


def least_decoded_side(target_side: int) -> int:
    """Return the minimum shorter side, in pixels, of a JPEG decoded for `target_side`."""
    return math.ceil(_DRAFT_OVERSAMPLING * target_side)


def _decode(
    data: bytes, limits: ImageLimits, target_side: int | None, acquire: Acquire
) -> Image.Image:
    structure = other_ending = None
    least_pixels = 0
    if data.startswith(jpeg.SIGNATURE):
        structure = jpeg.read_structure(data)
        data, other_ending = jpeg.endings(data, structure) or (data, None)
    elif data.startswith(png.SIGNATURE):
        data = png.without_ancillary_chunks(data)
    elif limits.heif and is_heic(data):
        least_pixels = heif_pixels(data, limits)
    with _opened(data, limits) as image:
        size = image.size
        _describe_colors(image, data)
        _reduce(image, target_side)
        is_buffered = structure is not None and structure.is_buffered
        check_size(size, limits, None if is_buffered else image.size)
        check_run_lengths(image)
        pixels = image.width * image.height
        if structure is not None and is_buffered:
            # libjpeg keeps the coefficients of all full-size pixels until the last scan.
            coefficients = structure.coefficients_per_pixel * size[0] * size[1]
            pixels += round(coefficients / _COEFFICIENTS_PER_PIXEL)
        elif image.format == "AVIF":
            least_pixels = avif_pixels(data, limits)
        pixels = max(pixels, least_pixels)
        if other_ending is None:
            with acquire(pixels):
                return _decoded(image, data, limits)
        with acquire(2 * pixels), _opened(other_ending, limits) as other:
            _reduce(other, target_side)
            return _decoded(image, data, limits, other)


def _describe_colors(image: Image.Image, data: bytes) -> None:
    """Set the ICC profile of an AVIF or HEIC that only states its color space by code points."""
    if image.format in ("AVIF", HEIF_FORMAT) and not image.info.get("icc_profile"):
        description = color_description(data)
        image.info["icc_profile"] = description and coded_profile(*description)


def _reduce(image: Image.Image, target_side: int | None) -> None:
    """Set the scale of a JPEG."""
    if target_side is not None:
        side = least_decoded_side(target_side)
        image.draft(None, (side, side))


def _opened(data: bytes, limits: ImageLimits) -> ImageFile.ImageFile:
    if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        # Opening an extended WebP allocates its canvas.
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        check_size((width, height), limits)
    formats: tuple[str, ...] = FORMATS
    if limits.heif and is_heic(data):
        heif.register()
        formats = (HEIF_FORMAT,)
        data = without_exif_item(data)
    elif accepted_kind(data) == "AVIF" and len(data) > _MAX_AVIF_BYTES_WITH_EXIF:
        data = without_exif_item(data)
    try:
        image = Image.open(MeteredFile(data), formats=formats)
        # Pass all bytes to the decoder at once: blocks are copied twice and contend for the GIL.
        # Never lower the value, because some decoders return their pixels in such blocks.
        image.decodermaxblock = max(image.decodermaxblock, len(data))
        return image
    except (MemoryError, OddStructureError):
        raise
    except Exception as error:
        if (common := bmp.with_common_layout(data)) is not None:
            return _opened(common, limits)
        raise _refusal(data, limits, "opened") from error


def _decoded(
    image: Image.Image, data: bytes, limits: ImageLimits, other: Image.Image | None = None
) -> Image.Image:
    """Decode an opened image; `other` is the same JPEG with another ending."""
    try:
        image.load()
        if other is not None:
            other.load()
            if ImageChops.difference(image, other).getbbox() is not None:
                raise _refusal(data, limits, "decoded", image.format)
        return upright_rgb(image)
    except (MemoryError, OddStructureError, ImageError):
        raise
    except Exception as error:
        # Decoders of damaged files raise anything: OSError, SyntaxError, struct.error, zlib.error…
        if str(error).startswith(_AVIF_MATRIX_ERROR):
            raise _unsupported("an AVIF whose colors have an unusual matrix", limits) from error
        raise _refusal(data, limits, "decoded", image.format) from error


def _refusal(
    data: bytes, limits: ImageLimits, step: str, opened_as: str | None = None
) -> ImageError:
    """Return the error for a file that could not be opened or decoded, as `step` says."""
    if (variant := _unsupported_variant(data)) is not None:
        return _unsupported(variant, limits)
    if (kind := accepted_kind(data, limits.heif) or opened_as) is not None:
        return CorruptImageError(
            f"The {kind} file is truncated or damaged and cannot be {step}; choose another."
        )
    other = refused_kind(data) or "not an image in an accepted format"
    kind_of_error = HeicDisabledError if is_heic(data) else UnsupportedImageError
    return _unsupported(other, limits, kind_of_error)


def _unsupported_variant(data: bytes) -> str | None:
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.read_structure(data).unsupported_kind
    if data.startswith(png.SIGNATURE):
        return png.unsupported_kind(data)
    return bmp.unsupported_kind(data)


def _unsupported(
    kind: str,
    limits: ImageLimits,
    kind_of_error: type[UnsupportedImageError] = UnsupportedImageError,
) -> UnsupportedImageError:
    return kind_of_error(f"The file is {kind}; send a {format_names(limits.heif)} photo.")


def _ignore_warnings() -> None:
    # Pillow warns of broken metadata, as often as a sender chooses. `warnings.catch_warnings` would
    # affect all threads. pytest resets the filters for each test, so check each time.
    if warnings.filters[:1] != [_WARNINGS_FILTER]:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
