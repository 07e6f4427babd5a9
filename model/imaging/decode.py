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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageFile, ImageOps

from model.errors import PetalscopeError
from model.imaging.avif import AvifStructureError, av1_sizes
from model.imaging.decode_guard import (
    MeteredFile,
    OddStructureError,
    check_structure,
    without_avif_exif,
)

# Pillow registers more than forty openers; only these are ever tried. The JPEG opener also takes
# the multi-picture (MPO) files of phones.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP")
FORMAT_NAMES: Final = "JPEG, PNG, WebP, GIF, AVIF or BMP"
# By which photos are found in folders, in lower case; what a file is, its bytes tell.
IMAGE_SUFFIXES: Final = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".mpo",
    ".png",
    ".apng",
    ".webp",
    ".gif",
    ".avif",
    ".avifs",
    ".bmp",
    ".dib",
)

# A JPEG is decoded at no less than so many times the size that the transform resizes to: about as
# many photos are named rightly as when all pixels are decoded (docs/accuracy.md, E16).
_DRAFT_OVERSAMPLING: Final = 1.25
_BACKGROUND: Final = (255, 255, 255)
_WARNINGS_FILTER: Final = ("ignore", None, UserWarning, re.compile(r"PIL\."), 0)

# EXIF can be built to take longer than the pixels; cameras write a fraction of this.
_MAX_EXIF_BYTES: Final = 1024 * 1024
_EXIF_KEYS: Final = ("exif", "Raw profile type exif")
# Pillow decodes run lengths in Python: minutes for the largest image, from a file of 30 kB.
_MAX_RUN_LENGTH_PIXELS: Final = 4_000_000
_BMP_RUN_LENGTHS: Final = (1, 2)
_PASSES_PIXELS_PER_PIXEL: Final = 4
# An AVIF decodes one AV1 image per tile and one for its alpha plane, all kept until the last.
_MAX_AVIF_IMAGES_PIXELS_FACTOR: Final = 4
# What is laid on white at a time: the layers of a large image would take gigabytes.
_STRIP_PIXELS: Final = 1_000_000

# First bytes of the formats we take, to tell a damaged photo from another kind of file, …
_ACCEPTED_SIGNATURES: Final = (
    ("JPEG", ((0, b"\xff\xd8\xff"),)),
    ("PNG", ((0, b"\x89PNG"),)),
    ("GIF", ((0, b"GIF8"),)),
    ("WebP", ((0, b"RIFF"), (8, b"WEBP"))),
    ("AVIF", ((0, b"\0\0\0"), (4, b"ftypavi"))),
    ("BMP", ((0, b"BM"),)),
)
# … and of those that people send by mistake, to name them in the answer.
_REFUSED_SIGNATURES: Final = (
    ("a PDF", 0, b"%PDF"),
    ("a HEIC photo", 4, b"ftyphei"),
    ("a HEIC photo", 4, b"ftyphev"),
    ("a HEIF photo", 4, b"ftypmif1"),
    ("a HEIF photo", 4, b"ftypmsf1"),
    ("a camera's raw image", 4, b"ftypcrx"),
    ("a video", 4, b"ftyp"),
    ("a video", 8, b"AVI "),
    ("a TIFF or raw image", 0, b"II*\0"),
    ("a TIFF or raw image", 0, b"MM\0*"),
    ("a JPEG XL image", 0, b"\0\0\0\x0cJXL "),
    ("a JPEG 2000 image", 0, b"\0\0\0\x0cjP  "),
    ("a Photoshop file", 0, b"8BPS"),
    ("a ZIP archive or office document", 0, b"PK\x03\x04"),
)


class ImageError(PetalscopeError):
    """A file that cannot be used as a photo."""


class UnsupportedImageError(ImageError):
    """The file is in no format of `FORMATS`."""


class CorruptImageError(ImageError):
    """The file claims a format of `FORMATS` but cannot be decoded: truncated or damaged."""


class ImageTooLargeError(ImageError):
    """The image has more pixels than the limit."""


class ImageTooSmallError(ImageError):
    """A side of the image is shorter than the limit."""


@dataclass(frozen=True)
class ImageLimits:
    """Limits that are checked before a pixel is decoded.

    Attributes:
        max_pixels: Largest width × height, in pixels.
        min_side: Shortest side allowed, in pixels.
    """

    max_pixels: int = 64_000_000
    min_side: int = 16


DEFAULT_LIMITS: Final = ImageLimits()

Acquire = Callable[[int], AbstractContextManager[None]]


def _without_bound(pixels: int) -> AbstractContextManager[None]:
    return nullcontext()


def decode_image(
    source: bytes | Path,
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    target_side: int | None = None,
    hold: Acquire = _without_bound,
) -> Image.Image:
    """Decode one photo.

    Args:
        source: The file's bytes, or its path.
        limits: Sizes to refuse.
        target_side: The shorter side, in pixels, that the image will be resized to. A JPEG is then
            decoded at 1/2, 1/4 or 1/8 scale where that leaves a quarter more, which saves most of
            the time and memory of a large one. None decodes at full size.
        hold: Called with the number of pixels that are about to be in memory, for as long as they
            are; what it raises is passed on.

    Returns:
        The first frame, upright, in mode RGB; transparent parts on white.

    Raises:
        UnsupportedImageError: Not one of the formats taken.
        CorruptImageError: Empty, truncated or damaged, or made of many more parts than any encoder
            writes.
        ImageTooLargeError: More pixels than `limits.max_pixels`.
        ImageTooSmallError: A side shorter than `limits.min_side`.
        OSError: `source` is a path that cannot be read.
    """
    data = source.read_bytes() if isinstance(source, Path) else source
    if not data:
        raise CorruptImageError("The file is empty.")
    _ignore_warnings()
    passes = _passes(data)
    with _opened(data, limits) as image:
        _check_size(image.size, limits)
        _check_run_lengths(image)
        whole = image.width * image.height
        if target_side is not None:
            side = least_decoded_side(target_side)
            image.draft(None, (side, side))
        pixels = image.width * image.height
        if passes > 1:
            # Held whole before it is reduced, in less memory a pixel.
            pixels += whole // _PASSES_PIXELS_PER_PIXEL
        elif image.format == "AVIF":
            pixels = max(pixels, _avif_pixels(data, limits))
        # Given to the decoder at once: pieces are each copied twice, and each waits again for
        # Python's lock. No smaller than they were: some decoders unpack by themselves, and give
        # the pixels of a small file through here.
        image.decodermaxblock = max(image.decodermaxblock, len(data))
        with hold(pixels):
            return _decoded(image, data)


def least_decoded_side(target_side: int) -> int:
    """Return how many pixels the shorter side of a JPEG keeps that is decoded for `target_side`."""
    return math.ceil(_DRAFT_OVERSAMPLING * target_side)


def _passes(data: bytes) -> int:
    try:
        return check_structure(data)
    except OddStructureError as error:
        raise _odd(data, error) from error


def _decoded(image: Image.Image, data: bytes) -> Image.Image:
    try:
        image.load()
        return _to_rgb(_upright(image))
    except MemoryError:
        raise
    except OddStructureError as error:
        raise _odd(data, error) from error
    except Exception as error:
        # Decoders raise whatever the damage leads them to: OSError when bytes are missing, but
        # also SyntaxError, ValueError, IndexError, struct.error, zlib.error…
        raise CorruptImageError(
            f"The {_accepted_kind(data) or image.format} image is truncated or damaged "
            "and cannot be decoded; choose another."
        ) from error


def _ignore_warnings() -> None:
    # Pillow warns of broken metadata, in numbers that a sender chooses: lines in the log, or errors
    # under `python -W error`. `warnings.catch_warnings` would act on all threads; a standing filter
    # does not, and is put first again where the filters were reset, as pytest does at each test.
    if warnings.filters[:1] != [_WARNINGS_FILTER]:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _opened(data: bytes, limits: ImageLimits) -> ImageFile.ImageFile:
    if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        # Opening an extended WebP allocates its canvas, so its size is checked before.
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        _check_size((width, height), limits)
    if _accepted_kind(data) == "AVIF" and len(data) > _MAX_EXIF_BYTES:
        data = without_avif_exif(data)
    try:
        return Image.open(MeteredFile(data), formats=FORMATS)
    except MemoryError:
        raise
    except OddStructureError as error:
        raise _odd(data, error) from error
    except Exception as error:
        if (kind := _accepted_kind(data)) is not None:
            raise CorruptImageError(
                f"The {kind} file is truncated or damaged and cannot be opened; choose another."
            ) from error
        other = _refused_kind(data) or "not an image in a format that is taken"
        raise UnsupportedImageError(f"The file is {other}; send a {FORMAT_NAMES} photo.") from error


def _odd(data: bytes, error: OddStructureError) -> CorruptImageError:
    return CorruptImageError(f"The {_accepted_kind(data)} image is {error}.")


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"The image has {width}×{height} = {width * height:,} pixels; "
            f"the limit is {limits.max_pixels:,}."
        )


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    _check_pixels(width, height, limits)
    if min(width, height) < limits.min_side:
        raise ImageTooSmallError(
            f"The image is {width}×{height} pixels; each side must have at least {limits.min_side}."
        )


def _avif_pixels(data: bytes, limits: ImageLimits) -> int:
    """Return how many pixels the AV1 decoder allocates: the container may state fewer."""
    try:
        sizes = av1_sizes(data)
    except AvifStructureError as error:
        raise CorruptImageError(
            "The AVIF file is truncated or damaged and cannot be opened; choose another."
        ) from error
    for size in sizes:
        _check_pixels(size.width, size.height, limits)
    pixels = sum(size.max_pixels for size in sizes)
    most = _MAX_AVIF_IMAGES_PIXELS_FACTOR * limits.max_pixels
    if sum(size.width * size.height for size in sizes) > most:
        raise ImageTooLargeError(f"The tiles of the AVIF have more than {most:,} pixels together.")
    return pixels


def _check_run_lengths(image: Image.Image) -> None:
    width, height = image.size
    run_lengths = image.format == "BMP" and image.info.get("compression") in _BMP_RUN_LENGTHS
    if run_lengths and width * height > _MAX_RUN_LENGTH_PIXELS:
        raise ImageTooLargeError(
            f"The image is a BMP in run lengths of {width}×{height} = {width * height:,} pixels; "
            f"the limit is {_MAX_RUN_LENGTH_PIXELS:,} for these."
        )


def _upright(image: Image.Image) -> Image.Image:
    """Return a copy, which outlives the file."""
    for key in _EXIF_KEYS:
        if len(image.info.get(key, "")) > _MAX_EXIF_BYTES:
            del image.info[key]
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:
        # A broken EXIF block must not cost the photo: it is then shown as stored.
        return image.copy()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _eight_bit(image)
    if image.has_transparency_data:
        return _on_background(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_background(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white: hidden colours would leak through `convert("RGB")`."""
    width, height = image.size
    result = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height))).convert("RGBA")
        background = Image.new("RGBA", strip.size, (*_BACKGROUND, 255))
        result.paste(Image.alpha_composite(background, strip).convert("RGB"), (0, top))
    return result


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits: `convert("RGB")` would clip all above 255 to white."""
    grey = np.array(image, dtype=np.uint32)
    if (transparent := image.info.get("transparency")) is not None:
        grey[grey == transparent] = 65535
    # The nearest whole number to grey / 257, without an array of floats.
    grey *= 255
    grey += 32895
    grey >>= 16
    return Image.fromarray(grey.astype(np.uint8))


def _accepted_kind(data: bytes) -> str | None:
    # A file cut inside its signature still counts: what is left of it must agree.
    for name, parts in _ACCEPTED_SIGNATURES:
        if all(text.startswith(data[at : at + len(text)]) for at, text in parts):
            return name
    return None


def _refused_kind(data: bytes) -> str | None:
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<"):
        drawing = b"<svg" in start and b"<html" not in start
        return "an SVG drawing" if drawing else "an HTML or XML document"
    matches = (name for name, at, text in _REFUSED_SIGNATURES if data[at:].startswith(text))
    return next(matches, None)


# The size limit is checked above, before a pixel is decoded, and may be set higher or lower than
# Pillow's own, whose warning would only repeat it.
Image.MAX_IMAGE_PIXELS = None
# Blocks of pixels so large that the allocator gives them back to the system: those of 16 MiB, which
# Pillow makes by itself, stay with the threads that had them, a gigabyte and more in all.
Image.core.set_block_size(64 * 1024 * 1024)  # type: ignore[attr-defined]
