"""What befalls photos on their way: each a fixed change to an upright RGB image.

A top-1 under each tells how far a model leans on what its training photos happen to have. The
kinds follow Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common
corruptions and perturbations".

Noise, compression and the quarter of the resolution act on the pixels that were decoded: the larger
a photo is before the transform makes it small, the less is left of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

Corruption = Callable[[Image.Image], Image.Image]

_BLUR: Final = 0.01  # standard deviation, as a share of the shorter side
_NOISE: Final = 25  # standard deviation, of values up to 255
_JPEG_QUALITY: Final = 30
_DARK: Final = 0.4
_BRIGHT: Final = 1.8


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(_BLUR * min(image.size)))


def _compressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return Image.open(file).convert("RGB")


def _darkened(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(_DARK)


def _brightened(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(_BRIGHT)


def _noisy(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(0).normal(scale=_NOISE, size=values.shape)
    return Image.fromarray((values + noise).round().clip(0, 255).astype(np.uint8))


def _turned(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_90)


def _centre(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 4, height // 4, width - width // 4, height - height // 4))


def _coarse(image: Image.Image) -> Image.Image:
    return image.resize([max(1, side // 4) for side in image.size])


# Functions with names, no lambdas: processes that decode are handed them where they are spawned.
CORRUPTIONS: Final[Mapping[str, Corruption]] = {
    "Gaussian blur, σ 1 % of the shorter side": _blurred,
    "JPEG of quality 30": _compressed,
    "darker, × 0.4": _darkened,
    "brighter, × 1.8": _brightened,
    "Gaussian noise, σ 25 of 255": _noisy,
    "turned by 90°": _turned,
    "central half of each side": _centre,
    "a quarter of the resolution": _coarse,
}
