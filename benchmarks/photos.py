"""Synthetic photos for benchmarks, because the project contains no photo of a data set."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

# Standard deviation of the luma (of 256 levels), and of the chroma relative to it, as in photos of
# flowers.
_CONTRAST: Final = 50
_COLOUR: Final = 0.32
# Exponent by which amplitudes fall with frequency. JPEG files are slightly larger than real ones at
# 500 pixels, and as large at 12 megapixels.
_POWER: Final = 1.2


def photo(longest_side: int, quality: int = 85, seed: int = 0) -> bytes:
    """Return a 4:3 JPEG of noise whose spectrum resembles a photo's."""
    random = np.random.default_rng(seed)
    size = longest_side * 3 // 4, longest_side
    contrasts = (_CONTRAST, _COLOUR * _CONTRAST, _COLOUR * _CONTRAST)
    planes = [128 + contrast * _noise(size, random) for contrast in contrasts]
    pixels = np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, "YCbCr").save(file, "JPEG", quality=quality)
    return file.getvalue()


def _noise(size: tuple[int, int], random: np.random.Generator) -> npt.NDArray[np.float64]:
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1 / width
    phases = np.exp(2j * np.pi * random.random(frequency.shape))
    plane = np.fft.irfft2(phases / frequency**_POWER, s=size)
    noise: npt.NDArray[np.float64] = plane / plane.std()
    return noise
