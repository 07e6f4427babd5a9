"""A photo's bytes to an upright RGB image, or an error that says why not.

    bytes | path -> format allow-list -> size limits -> decode (JPEG at reduced scale)
                 -> first frame, upright by EXIF -> RGB on white

Training, evaluation, the command line and the service all decode here, so that a photo gives the
same pixels wherever it arrives.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from model.errors import PetalscopeError

# Pillow registers more than forty openers; only these are ever tried. The JPEG opener also takes
# the multi-picture (MPO) files of phones.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP")
FORMAT_NAMES: Final = "JPEG, PNG, WebP, GIF, AVIF or BMP"

# Decoding at no less than twice the size that the transform resizes to leaves no visible trace.
_DRAFT_OVERSAMPLING: Final = 2
_BACKGROUND: Final = (255, 255, 255)

# First bytes of the formats we take, to tell a damaged photo from a file of another kind, …
_ACCEPTED_SIGNATURES: Final = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG", "PNG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavi", "AVIF"),
    (0, b"BM", "BMP"),
)
# … and of those that people send by mistake, to name them in the answer.
_REFUSED_SIGNATURES: Final = (
    (0, b"%PDF", "a PDF"),
    (4, b"ftyphei", "a HEIC photo"),
    (4, b"ftyphev", "a HEIC photo"),
    (4, b"ftypmif1", "a HEIF photo"),
    (4, b"ftyp", "a video"),
    (0, b"II*\x00", "a TIFF or raw image"),
    (0, b"MM\x00*", "a TIFF or raw image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"PK\x03\x04", "a ZIP archive or office document"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<?xml", "an XML document"),
    (0, b"<", "an HTML or XML document"),
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
    """What is refused before a pixel is decoded.

    Attributes:
        max_pixels: Largest width × height, in pixels.
        min_side: Shortest side allowed, in pixels.
    """

    max_pixels: int = 64_000_000
    min_side: int = 16


DEFAULT_LIMITS: Final = ImageLimits()


def decode_image(
    source: bytes | Path, *, limits: ImageLimits = DEFAULT_LIMITS, target_side: int | None = None
) -> Image.Image:
    """Decode one photo.

    Args:
        source: The file's bytes, or its path.
        limits: Sizes to refuse.
        target_side: The shorter side, in pixels, that the image will be resized to. A JPEG is then
            decoded at 1/2, 1/4 or 1/8 scale where that leaves at least twice as much, which saves
            most of the time and memory of a large one. None decodes at full size.

    Returns:
        The first frame, upright, in mode RGB; transparent parts on white.

    Raises:
        UnsupportedImageError: Not one of the formats taken.
        CorruptImageError: Empty, truncated or damaged.
        ImageTooLargeError: More pixels than `limits.max_pixels`.
        ImageTooSmallError: A side shorter than `limits.min_side`.
        OSError: `source` is a path that cannot be read.
    """
    data = source.read_bytes() if isinstance(source, Path) else source
    if not data:
        raise CorruptImageError("The file is empty.")
    with _opened(data, limits) as image:
        _check_size(image, limits)
        try:
            if target_side is not None:
                side = _DRAFT_OVERSAMPLING * target_side
                image.draft(None, (side, side))
            image.load()
            return _to_rgb(_upright(image))
        except MemoryError:
            raise
        except Exception as error:
            # Decoders raise whatever the damage leads them to: OSError when bytes are missing, but
            # also SyntaxError, ValueError, IndexError, struct.error, zlib.error…
            raise CorruptImageError(
                f"The {_format_name(data)} image is truncated or damaged and cannot be decoded."
            ) from error


def _opened(data: bytes, limits: ImageLimits) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(
            f"The image has more pixels than the limit of {limits.max_pixels:,}."
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        kind = _signature(data, _ACCEPTED_SIGNATURES)
        if kind is not None or not isinstance(error, UnidentifiedImageError):
            raise CorruptImageError(
                f"The {kind or 'image'} file is truncated or damaged and cannot be opened."
            ) from error
        other = _signature(data, _REFUSED_SIGNATURES)
        raise UnsupportedImageError(
            f"The file is {other or 'not an image in a format that is taken'}; "
            f"send a {FORMAT_NAMES} photo."
        ) from error


def _check_size(image: Image.Image, limits: ImageLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"The image has {width}×{height} = {width * height:,} pixels; "
            f"the limit is {limits.max_pixels:,}."
        )
    if min(width, height) < limits.min_side:
        raise ImageTooSmallError(
            f"The image is {width}×{height} pixels; each side must have at least {limits.min_side}."
        )


def _upright(image: Image.Image) -> Image.Image:
    # A broken EXIF block must not cost the photo: it is then shown as stored.
    with contextlib.suppress(Exception):
        return ImageOps.exif_transpose(image)
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: `convert("RGB")` would clip everything above 255 to white.
        grey = np.asarray(image).astype(np.float64) / 257.0
        image = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        # Hidden colours would leak through a plain `convert("RGB")`.
        layer = image.convert("RGBA")
        background = Image.new("RGBA", layer.size, (*_BACKGROUND, 255))
        image = Image.alpha_composite(background, layer)
    # A copy in any case: the image must outlive the closed file.
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _signature(data: bytes, table: tuple[tuple[int, bytes, str], ...]) -> str | None:
    head = data[:64].lstrip() if data[:64].lstrip().startswith(b"<") else data[:64]
    return next((name for at, magic, name in table if head[at:].startswith(magic)), None)


def _format_name(data: bytes) -> str:
    return _signature(data, _ACCEPTED_SIGNATURES) or "photo's"


# The size limit is checked above, before a pixel is decoded, and may be set higher or lower than
# Pillow's own, whose warning would only repeat it.
Image.MAX_IMAGE_PIXELS = None
