"""Photo formats: the accepted ones, and recognition of a file's format by its first bytes."""

from __future__ import annotations

from typing import Final

from model.errors import PetalscopeError

# Pillow registers over forty openers; only these are tried. The JPEG opener also reads the
# multi-picture (MPO) files of phones. A DIB is a BMP without its file header, as in a clipboard.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "DIB")
FORMAT_NAMES: Final = "JPEG, PNG, WebP, GIF, AVIF or BMP"
# Only decoded if `ImageLimits.heif` is set.
HEIF_FORMAT: Final = "HEIF"
HEIC_NAME: Final = "HEIC"
# Lower-case suffixes of photos in folders. A file's bytes determine its format.
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

# Signatures of accepted formats: a file with one that does not open is damaged.
_ACCEPTED_SIGNATURES: Final = (
    ("JPEG", ((0, b"\xff\xd8\xff"),)),
    ("PNG", ((0, b"\x89PNG"),)),
    ("GIF", ((0, b"GIF8"),)),
    ("WebP", ((0, b"RIFF"), (8, b"WEBP"))),
    ("AVIF", ((0, b"\0\0\0"), (4, b"ftypavi"))),
    ("BMP", ((0, b"BM"),)),
)
_HEIC_BRANDS: Final = (b"hei", b"hev", b"mif1", b"msf1")
# Signatures of files often sent by mistake, named in the error message.
_REFUSED_SIGNATURES: Final = (
    ("a PDF", 0, b"%PDF"),
    *(("a HEIC photo", 4, b"ftyp" + brand) for brand in _HEIC_BRANDS),
    ("a camera's raw image", 4, b"ftypcrx"),
    ("a video", 4, b"ftyp"),
    ("a video", 8, b"AVI "),
    ("a TIFF or raw image", 0, b"II*\0"),
    ("a TIFF or raw image", 0, b"MM\0*"),
    ("a JPEG XL image", 0, b"\0\0\0\x0cJXL "),
    ("a JPEG XL image", 0, b"\xff\x0a"),
    ("a JPEG 2000 image", 0, b"\0\0\0\x0cjP  "),
    ("a Photoshop file", 0, b"8BPS"),
    ("a ZIP archive or office document", 0, b"PK\x03\x04"),
)


class ImageError(PetalscopeError):
    """A file that cannot be used as a photo."""


class UnsupportedImageError(ImageError):
    """A file in none of `FORMATS`, or in a variant that is not decoded."""


class HeicDisabledError(UnsupportedImageError):
    """A HEIC photo while HEIC is not decoded."""


class CorruptImageError(ImageError):
    """A file of an accepted format that cannot be decoded: truncated or damaged."""


def format_names(heif: bool) -> str:
    """Return the names of the accepted formats, with or without HEIC."""
    return FORMAT_NAMES.replace(" or ", f", {HEIC_NAME} or ") if heif else FORMAT_NAMES


def is_heic(data: bytes) -> bool:
    """Return True if `data` starts with the signature of a HEIC or HEIF photo."""
    return data[4:8] == b"ftyp" and data[8:12].startswith(_HEIC_BRANDS)


def accepted_kind(data: bytes, heif: bool = False) -> str | None:
    """Return the name of the accepted format whose signature `data` starts with, or None.

    A file cut inside its signature counts if its bytes agree with the signature so far.
    """
    for name, parts in _ACCEPTED_SIGNATURES:
        if all(text.startswith(data[at : at + len(text)]) for at, text in parts):
            return name
    return HEIC_NAME if heif and is_heic(data) else None


def refused_kind(data: bytes) -> str | None:
    """Return a description of a known kind of file that is not accepted ("a PDF"), or None."""
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<"):
        drawing = b"<svg" in start and b"<html" not in start
        return "an SVG drawing" if drawing else "an HTML or XML document"
    matches = (name for name, at, text in _REFUSED_SIGNATURES if data[at:].startswith(text))
    return next(matches, None)
