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

from PIL import Image, ImageFile

from model.imaging.decode_guard import (
    MeteredFile,
    OddStructureError,
    check_structure,
    without_avif_exif,
)
from model.imaging.formats import (
    FORMAT_NAMES,
    FORMATS,
    CorruptImageError,
    UnsupportedImageError,
    accepted_kind,
    refused_kind,
)
from model.imaging.limits import (
    DEFAULT_LIMITS,
    ImageLimits,
    avif_pixels,
    check_run_lengths,
    check_size,
)
from model.imaging.rgb import upright_rgb

# A reduced JPEG keeps at least this multiple of the target side: accuracy is that of full decoding
# (docs/accuracy.md, E16).
_DRAFT_OVERSAMPLING: Final = 1.25
# Memory of a progressive JPEG's coefficients, in full-size pixels per pixel counted.
_PROGRESSIVE_PIXELS_PER_PIXEL: Final = 4
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
        limits: Limits on the size.
        target_side: Length of the shorter side, in pixels, that the caller will resize to. A JPEG
            is then decoded at 1/2, 1/4 or 1/8 scale if that leaves at least 1.25 times as many.
            None decodes at full size.
        acquire: Called before decoding with the number of pixels that decoding allocates; its
            context is held while decoding. Its exceptions propagate.

    Returns:
        The first frame in mode RGB, turned by its EXIF orientation, on a white background.

    Raises:
        UnsupportedImageError: The file is in none of `FORMATS`.
        CorruptImageError: The file is empty, truncated or damaged, or has many more parts than any
            encoder writes.
        ImageTooLargeError: More pixels than `limits.max_pixels`.
        ImageTooSmallError: A side shorter than `limits.min_side`.
        OSError: `source` is a path that cannot be read.
    """
    data = source.read_bytes() if isinstance(source, Path) else source
    if not data:
        raise CorruptImageError("The file is empty.")
    _ignore_warnings()
    scans = _jpeg_scans(data)
    with _opened(data, limits) as image:
        check_size(image.size, limits)
        check_run_lengths(image)
        full_size = image.width * image.height
        if target_side is not None:
            side = least_decoded_side(target_side)
            image.draft(None, (side, side))
        pixels = image.width * image.height
        if scans > 1:
            # libjpeg keeps the coefficients of all full-size pixels until the last scan.
            pixels += full_size // _PROGRESSIVE_PIXELS_PER_PIXEL
        elif image.format == "AVIF":
            pixels = max(pixels, avif_pixels(data, limits))
        # Pass all bytes to the decoder at once: blocks are copied twice and contend for the GIL.
        # Never lower the value, because some decoders return their pixels in such blocks.
        image.decodermaxblock = max(image.decodermaxblock, len(data))
        with acquire(pixels):
            return _decoded(image, data)


def least_decoded_side(target_side: int) -> int:
    """Return the minimum shorter side, in pixels, of a JPEG decoded for `target_side`."""
    return math.ceil(_DRAFT_OVERSAMPLING * target_side)


def _jpeg_scans(data: bytes) -> int:
    try:
        return check_structure(data)
    except OddStructureError as error:
        raise _odd(data, error) from error


def _opened(data: bytes, limits: ImageLimits) -> ImageFile.ImageFile:
    if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        # Opening an extended WebP allocates its canvas.
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        check_size((width, height), limits)
    if accepted_kind(data) == "AVIF" and len(data) > _MAX_AVIF_BYTES_WITH_EXIF:
        data = without_avif_exif(data)
    try:
        return Image.open(MeteredFile(data), formats=FORMATS)
    except MemoryError:
        raise
    except OddStructureError as error:
        raise _odd(data, error) from error
    except Exception as error:
        if (kind := accepted_kind(data)) is not None:
            raise CorruptImageError(
                f"The {kind} file is truncated or damaged and cannot be opened; choose another."
            ) from error
        other = refused_kind(data) or "not an image in an accepted format"
        raise UnsupportedImageError(f"The file is {other}; send a {FORMAT_NAMES} photo.") from error


def _decoded(image: Image.Image, data: bytes) -> Image.Image:
    try:
        image.load()
        return upright_rgb(image)
    except MemoryError:
        raise
    except OddStructureError as error:
        raise _odd(data, error) from error
    except Exception as error:
        # Decoders of damaged files raise anything: OSError, SyntaxError, struct.error, zlib.error…
        raise CorruptImageError(
            f"The {accepted_kind(data) or image.format} image is truncated or damaged "
            "and cannot be decoded; choose another."
        ) from error


def _odd(data: bytes, error: OddStructureError) -> CorruptImageError:
    return CorruptImageError(f"The {accepted_kind(data)} image is {error}.")


def _ignore_warnings() -> None:
    # Pillow warns of broken metadata, as often as a sender chooses. `warnings.catch_warnings` would
    # affect all threads. pytest resets the filters for each test, so check each time.
    if warnings.filters[:1] != [_WARNINGS_FILTER]:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
