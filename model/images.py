"""A photo's bytes to an upright RGB image, or an error that says why not.

    bytes | path -> format allow-list -> size limits -> decode (JPEG at reduced scale)
                 -> first frame, upright by EXIF -> RGB on white

Training, evaluation, the command line and the service all decode here, so that a photo gives the
same pixels wherever it arrives.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from model.errors import PetalscopeError

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

# Decoding at no less than twice the size that the transform resizes to leaves no visible trace.
_DRAFT_OVERSAMPLING: Final = 2
_BACKGROUND: Final = (255, 255, 255)
_WARNINGS_FILTER: Final = ("ignore", None, UserWarning, re.compile(r"PIL\."), 0)

# Encoders write ten scans or so. A 100 kB file can hold thousands, and each costs a pass over all
# pixels: hours for one upload.
_MAX_JPEG_SCANS: Final = 64
# A marker that may have a length behind it: neither stuffing, padding, a restart nor start of file.
_JPEG_MARKER: Final = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_JPEG_END, _JPEG_SCAN = b"\xd9", b"\xda"

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
        CorruptImageError: Empty, truncated or damaged, or a JPEG in many more passes than any
            encoder makes.
        ImageTooLargeError: More pixels than `limits.max_pixels`.
        ImageTooSmallError: A side shorter than `limits.min_side`.
        OSError: `source` is a path that cannot be read.
    """
    data = source.read_bytes() if isinstance(source, Path) else source
    if not data:
        raise CorruptImageError("The file is empty.")
    _ignore_warnings()
    with _opened(data, limits) as image:
        _check_size(image.size, limits)
        if image.format in ("JPEG", "MPO"):
            _check_scans(data)
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
                f"The {_accepted_kind(data) or image.format} image is truncated or damaged "
                "and cannot be decoded."
            ) from error


def _ignore_warnings() -> None:
    # Pillow warns of broken metadata, in numbers that a sender chooses: lines in the log, or errors
    # under `python -W error`. `warnings.catch_warnings` would act on all threads; a standing filter
    # does not, and is put first again where the filters were reset, as pytest does at each test.
    if warnings.filters[:1] != [_WARNINGS_FILTER]:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _opened(data: bytes, limits: ImageLimits) -> Image.Image:
    if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        # Opening an extended WebP allocates its canvas, so its size is checked before.
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        _check_size((width, height), limits)
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        if (kind := _accepted_kind(data)) is not None:
            raise CorruptImageError(
                f"The {kind} file is truncated or damaged and cannot be opened."
            ) from error
        other = _refused_kind(data) or "not an image in a format that is taken"
        raise UnsupportedImageError(f"The file is {other}; send a {FORMAT_NAMES} photo.") from error


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"The image has {width}×{height} = {width * height:,} pixels; "
            f"the limit is {limits.max_pixels:,}."
        )
    if min(width, height) < limits.min_side:
        raise ImageTooSmallError(
            f"The image is {width}×{height} pixels; each side must have at least {limits.min_side}."
        )


def _check_scans(data: bytes) -> None:
    scans, position = 0, 2
    while (marker := _JPEG_MARKER.search(data, position)) and marker[1] != _JPEG_END:
        scans += marker[1] == _JPEG_SCAN
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        position = marker.end() + length
    if scans > _MAX_JPEG_SCANS:
        raise CorruptImageError(
            f"The JPEG image is stored in {scans:,} passes; the limit is {_MAX_JPEG_SCANS}."
        )


def _upright(image: Image.Image) -> Image.Image:
    """Return a copy, which outlives the file."""
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
        # Hidden colours would leak through a plain `convert("RGB")`.
        layer = image.convert("RGBA")
        background = Image.new("RGBA", layer.size, (*_BACKGROUND, 255))
        image = Image.alpha_composite(background, layer)
    return image if image.mode == "RGB" else image.convert("RGB")


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
