"""ICC profiles for tests, built from their definitions (ICC.1:2004, version 2.4)."""

from __future__ import annotations

import struct
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

# From linear RGB to XYZ, adapted to the white point D50 of the profile connection space.
SRGB: Matrix = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
DISPLAY_P3: Matrix = np.array(
    [[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]]
)
PRO_PHOTO: Matrix = np.array(
    [[0.7976749, 0.1351917, 0.0313534], [0.2880402, 0.7118741, 0.0000857], [0, 0, 0.8252100]]
)
D50 = (0.9642, 1.0, 0.8249)
# Colors of the inks at full strength, in sRGB.
INKS = {"C": (0, 158, 224), "M": (229, 0, 125), "Y": (255, 236, 0), "K": (30, 28, 26)}


def rgb_profile(matrix: Matrix, gamma: float | npt.NDArray[Any]) -> bytes:
    """Return a profile of an RGB space with the given primaries, and exponent or tone curve."""
    primaries = zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)
    curves = {name: _curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"RGB ", b"XYZ ", {name: _xyz(values) for name, values in primaries} | curves)


def gray_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile() -> bytes:
    """Return a profile of `INKS`, whose colors multiply where they overlap."""
    identity = bytes(range(256))
    table = b"".join(bytes(_lab_byte_triple(inks)) for inks in product((0, 1), repeat=4))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    lut += b"".join(map(_fixed, np.eye(3).ravel())) + 4 * identity + table + 3 * identity
    return _profile(b"CMYK", b"Lab ", {b"A2B0": lut})


def converted(values: npt.NDArray[Any], matrix: Matrix, gamma: float) -> npt.NDArray[np.uint8]:
    """Convert 8-bit values (..., 3) of an RGB space to sRGB."""
    linear = (values / 255) ** gamma @ matrix.T @ np.linalg.inv(SRGB).T
    return _srgb_encoded(linear)


def display_p3_converted(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Convert 8-bit values (..., 3) of Display P3 with sRGB's tone curve to sRGB."""
    return _srgb_encoded(_srgb_linear(values / 255) @ DISPLAY_P3.T @ np.linalg.inv(SRGB).T)


def gray_converted(values: npt.NDArray[Any], gamma: float) -> npt.NDArray[np.uint8]:
    return _srgb_encoded((values / 255) ** gamma)


def _srgb_encoded(linear: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    linear = linear.clip(0, 1)
    encoded = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(1e-9) ** (1 / 2.4) - 0.055
    )
    levels: npt.NDArray[np.uint8] = np.rint(255 * encoded).astype(np.uint8)
    return levels


def _srgb_linear(encoded: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _lab_byte_triple(inks: tuple[int, ...]) -> list[int]:
    color = np.ones(3)
    for amount, ink in zip(inks, INKS.values(), strict=True):
        if amount:
            color = color * ink / 255
    ratio = SRGB @ _srgb_linear(color) / D50
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    lab = (116 * y - 16) * 2.55, 500 * (x - y) + 128, 200 * (y - z) + 128
    return [int(np.clip(round(value), 0, 255)) for value in lab]


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"wtpt": _xyz(D50), **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += name + struct.pack(">II", start + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    header = struct.pack(">II", start + len(body), 0) + b"\2\x40\0\0"
    header += (b"prtr" if space == b"CMYK" else b"mntr") + space + connection + bytes(12) + b"acsp"
    header += bytes(28) + b"".join(map(_fixed, D50)) + bytes(48)
    return header + table + body


def _xyz(values: Any) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _curve(gamma: float | npt.NDArray[Any]) -> bytes:
    if isinstance(gamma, np.ndarray):
        return b"curv" + bytes(4) + struct.pack(">I", len(gamma)) + gamma.tobytes()
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))
