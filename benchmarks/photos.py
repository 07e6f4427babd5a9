"""Photos to measure with, made by code: none of a data set is part of the project."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def photo(longest_side: int, quality: int = 85, seed: int = 0) -> bytes:
    """Make a JPEG of 4:3 with as much detail as photos have: amplitudes fall with frequency."""
    width, height = longest_side, longest_side * 3 // 4
    random = np.random.default_rng(seed)
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1 / width
    channels = []
    for _ in range(3):
        phases = np.exp(2j * np.pi * random.random(frequency.shape))
        plane = np.fft.irfft2(phases / frequency, s=(height, width))
        channels.append(np.clip(128 + 50 * plane / plane.std(), 0, 255))
    file = io.BytesIO()
    Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(
        file, "JPEG", quality=quality
    )
    return file.getvalue()
