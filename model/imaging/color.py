"""Conversion of photos in other color spaces to sRGB, by LittleCMS.

The network was trained on sRGB values. Wide-gamut photos, such as a phone's in Display P3, look
pale to it without the conversion.
"""

from __future__ import annotations

import functools
import hashlib
import io
import struct
import threading
from collections import OrderedDict
from typing import Final

import numpy as np
from PIL import Image, ImageCms

# Profiles of printing presses take up to 3 MB, those of cameras and screens some kB.
_MAX_PROFILE_BYTES: Final = 4 * 1024 * 1024
_MAX_CACHED: Final = 64
_COLOR_SPACES: Final = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
_OUTPUT_MODES: Final = {"L": "RGB", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB"}
# Largest difference of 255 at which a profile counts as sRGB: its variants round differently.
_SRGB_TOLERANCE: Final = 2
# Least difference of white and black, of 255. Damaged curves give less.
_MIN_CONTRAST: Final = 64
_WHITE_AND_BLACK: Final[dict[str, tuple[int | tuple[int, ...], int | tuple[int, ...]]]] = {
    "L": (255, 0),
    "RGB": ((255, 255, 255), (0, 0, 0)),
    "RGBA": ((255, 255, 255, 255), (0, 0, 0, 255)),
    "CMYK": ((0, 0, 0, 0), (255, 255, 255, 255)),
}
_SRGB: Final = ImageCms.createProfile("sRGB")

# Codes of ITU-T H.273. From linear RGB to XYZ, adapted to D50: the columns are the primaries.
_PRIMARIES: Final = {
    9: (  # BT.2020
        (0.6734241, 0.2790177, -0.0019300),
        (0.1656411, 0.6753402, 0.0299784),
        (0.1251286, 0.0456377, 0.7973330),
    ),
    12: (  # Display P3
        (0.5151187, 0.2411892, -0.0010505),
        (0.2919778, 0.6922441, 0.0418791),
        (0.1571035, 0.0665668, 0.7840713),
    ),
}
# Transfer functions that photos use like sRGB's; those of HDR are not converted.
_SRGB_TRANSFERS: Final = (1, 6, 13, 14, 15)
_D50: Final = (0.9642, 1.0, 0.8249)
# Exponent and coefficients of sRGB's tone curve, as a parametric curve of type 3.
_SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

_Transform = ImageCms.ImageCmsTransform


class _TransformCache:
    """The transforms of recent profiles, by the profile's hash, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._transforms: OrderedDict[tuple[bytes, str], _Transform | None] = OrderedDict()

    def get(self, profile: bytes, mode: str) -> _Transform | None:
        """Return the transform of a profile, or None if none is needed or possible."""
        key = hashlib.sha256(profile).digest(), mode
        with self._lock:
            if key in self._transforms:
                self._transforms.move_to_end(key)
                return self._transforms[key]
        transform = _build(profile, mode)  # takes up to some 10 ms, so not in the lock
        with self._lock:
            self._transforms[key] = transform
            if len(self._transforms) > _MAX_CACHED:
                self._transforms.popitem(last=False)
        return transform


_CACHE: Final = _TransformCache()


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image to sRGB by its ICC profile.

    A profile that is too large, damaged or for another color space is ignored.

    Args:
        image: Image of mode L, RGB, RGBA or CMYK; its pixels may be overwritten.
        profile: ICC profile; None for an image that is already in sRGB.

    Returns:
        The image in mode RGB or RGBA; unchanged if no conversion is needed.
    """
    if not profile or len(profile) > _MAX_PROFILE_BYTES or image.mode not in _COLOR_SPACES:
        return image
    transform = _CACHE.get(profile, image.mode)
    if transform is None:
        return image
    if image.mode == transform.output_mode:
        return transform.apply_in_place(image)
    return transform.apply(image)


@functools.cache
def coded_profile(primaries: int, transfer: int) -> bytes | None:
    """Return an ICC profile for a color description by code points (nclx) of an AVIF or HEIC.

    Args:
        primaries: Color primaries, by ITU-T H.273.
        transfer: Transfer characteristics.

    Returns:
        The profile; None for sRGB, HDR and other spaces, which are not converted.
    """
    if primaries not in _PRIMARIES or transfer not in _SRGB_TRANSFERS:
        return None
    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(_SRGB_CURVE)
    tags = {b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50)}
    for name, column in zip((b"r", b"g", b"b"), _PRIMARIES[primaries], strict=True):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(column)
        tags[name + b"TRC"] = curve
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", start + len(body), len(tag))
        body += tag
    header = struct.pack(">II", start + len(body), 0) + b"\4\x20\0\0mntrRGB XYZ " + bytes(12)
    return header + b"acsp" + bytes(28) + _fixed(_D50) + bytes(48) + table + body


def _fixed(values: tuple[float, ...]) -> bytes:
    """Encode numbers as s15Fixed16Number."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _build(profile: bytes, mode: str) -> _Transform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _COLOR_SPACES[mode]:
            return None
        transform = ImageCms.ImageCmsTransform(
            source,
            ImageCms.ImageCmsProfile(_SRGB),
            mode,
            _OUTPUT_MODES[mode],
            ImageCms.Intent.PERCEPTUAL,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except MemoryError:
        raise
    except Exception:  # LittleCMS reports damaged profiles by several classes
        return None
    return transform if _is_sound(transform) and not _is_srgb(transform) else None


def _is_sound(transform: _Transform) -> bool:
    """Return True if white becomes much lighter than black."""
    probe = Image.new(transform.input_mode, (2, 1))
    for at, color in enumerate(_WHITE_AND_BLACK[transform.input_mode]):
        probe.putpixel((at, 0), color)
    white, black = np.asarray(transform.apply(probe).convert("L"), dtype=int)[0]
    return bool(white - black >= _MIN_CONTRAST)


def _is_srgb(transform: _Transform) -> bool:
    """Return True if the transform changes no color visibly."""
    if transform.input_mode == "CMYK":
        return False
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    if transform.input_mode == "L":
        colors = colors[..., :1].repeat(3, axis=-1)
    probe = Image.fromarray(colors)
    given = np.asarray(probe, dtype=int)
    made = transform.apply(probe.convert(transform.input_mode)).convert("RGB")
    return bool(np.abs(np.asarray(made, dtype=int) - given).max() <= _SRGB_TOLERANCE)
