"""Fixed image corruptions, which show how far accuracy depends on image quality.

The kinds follow Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common
corruptions and perturbations". Noise, compression and downsampling act on the decoded pixels,
before the transform: the larger the photo, the weaker their effect.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

Corruption = Callable[[Image.Image], Image.Image]

_BLUR: Final = 0.01  # standard deviation, as a fraction of the shorter side
_NOISE: Final = 25  # standard deviation of pixel values up to 255
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


def _rotated(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_90)


def _center_cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 4, height // 4, width - width // 4, height - height // 4))


def _downsampled(image: Image.Image) -> Image.Image:
    return image.resize([max(1, side // 4) for side in image.size])


# Named functions: lambdas cannot be pickled for spawned worker processes.
CORRUPTIONS: Final[Mapping[str, Corruption]] = {
    "Gaussian blur, σ 1 % of the shorter side": _blurred,
    "JPEG quality 30": _compressed,
    "darker, × 0.4": _darkened,
    "brighter, × 1.8": _brightened,
    "Gaussian noise, σ 25 of 255": _noisy,
    "rotated by 90°": _rotated,
    "center crop, × 0.5": _center_cropped,
    "downsampled, × 0.25": _downsampled,
}
