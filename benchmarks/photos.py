"""Photos to measure with, made by code: none of a data set is part of the project."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

# Of brightness, in shades of 256, and of colour beside it, as it is in photos of flowers.
_CONTRAST: Final = 50
_COLOUR: Final = 0.32
# By which power of the frequency amplitudes fall: JPEGs of these photos are a little heavier than
# real ones of 500 pixels, and as heavy as those of a phone with 12 megapixels.
_POWER: Final = 1.2


def photo(longest_side: int, quality: int = 85, seed: int = 0) -> bytes:
    """Make a JPEG of 4:3 with a photo's detail: most of it brightness, and less the finer it is."""
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
