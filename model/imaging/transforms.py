"""The evaluation transform from an image to a network input, in Pillow and NumPy.

Validation, evaluation, the command line and the service share it. It matches torchvision's Resize
and CenterCrop up to rounding, without depending on torch. The network normalizes the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from model.backends.base import Pixels
from model.imaging.resize import INTERPOLATIONS, resize

# Bounds against damaged metadata: the largest timm backbones take about 1,000 pixels.
_MAX_SIDE: Final = 4096
_MIN_STD: Final = 1e-3
# Reach of the wider filter around a pixel, plus one.
_REACH: Final = 3

# A strip of 16×60,000 pixels would be resized to 292×1,095,000 before cropping. Pixels outside the
# central 4:1 never reach the crop, so they are removed first.
_MAX_ASPECT: Final = 4


@dataclass(frozen=True)
class EvaluationTransform:
    """The evaluation transform: an image to a network's input; stored in the checkpoint.

    Attributes:
        resize: Length of the shorter side after resizing, in pixels.
        crop: Side of the central square that the network sees, in pixels.
        interpolation: "bicubic" or "bilinear".
        mean: Per-channel mean (R, G, B) to subtract, of values in [0, 1].
        std: Per-channel standard deviation to divide by, of values in [0, 1].
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A value is out of range.
        """
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}")
        if not 0 < self.crop <= self.resize <= _MAX_SIDE:
            raise ValueError(
                f"crop is {self.crop} and resize {self.resize}; they must satisfy "
                f"0 < crop <= resize <= {_MAX_SIDE}"
            )
        # NaN fails both comparisons.
        if not all(0 <= value <= 1 for value in self.mean):
            raise ValueError("mean must hold numbers from 0 to 1")
        if not all(_MIN_STD <= value <= 1 for value in self.std):
            raise ValueError(f"std must hold numbers from {_MIN_STD} to 1")

    def __call__(self, image: Image.Image) -> Pixels:
        """Transform one RGB image of any size to a network input, uint8 (crop, crop, 3)."""
        return np.array(self.resize_and_crop(image))

    def resize_and_crop(self, image: Image.Image) -> Image.Image:
        """Resize an RGB image and return its central crop×crop square."""
        image = _trim_to_aspect(image)
        width, height = image.size
        # Round as torchvision does: truncate the longer side, round the crop's corner.
        if width <= height:
            size = self.resize, int(self.resize * height / width)
        else:
            size = int(self.resize * width / height), self.resize
        left = round((size[0] - self.crop) / 2.0)
        top = round((size[1] - self.crop) / 2.0)
        if size == image.size:
            return image.crop((left, top, left + self.crop, top + self.crop))
        # Filtering only the crop's pixels saves a third of the time.
        across, down = width / size[0], height / size[1]
        first = max(0, math.floor(top * down - _REACH * max(1.0, down)))
        last = min(height, math.ceil((top + self.crop) * down + _REACH * max(1.0, down)))
        if last - first < height:
            image = image.crop((0, first, width, last))
        image = resize(
            image,
            (self.crop, last - first),
            self.interpolation,
            (left * across, 0, (left + self.crop) * across, last - first),
        )
        return resize(
            image,
            (self.crop, self.crop),
            self.interpolation,
            (0, top * down - first, self.crop, (top + self.crop) * down - first),
        )

    @classmethod
    def from_data_config(
        cls, config: Mapping[str, Any], image_size: int | None = None
    ) -> EvaluationTransform:
        """Build the evaluation transform of a timm backbone.

        Args:
            config: Return value of `timm.data.resolve_model_data_config`.
            image_size: Side of the network's input, in pixels; None for the backbone's own. The
                crop ratio stays the same.
        """
        crop = image_size or int(config["input_size"][-1])
        interpolation = str(config["interpolation"])
        return cls(
            resize=math.floor(crop / float(config["crop_pct"])),
            crop=crop,
            interpolation=interpolation if interpolation in INTERPOLATIONS else "bicubic",
            mean=_rgb(config["mean"]),
            std=_rgb(config["std"]),
        )


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _trim_to_aspect(image: Image.Image) -> Image.Image:
    """Trim both ends of the longer side equally, to at most 4 times the shorter side."""
    width, height = image.size
    cut = (max(width, height) - _MAX_ASPECT * min(width, height)) // 2
    if cut <= 0:
        return image
    if width > height:
        return image.crop((cut, 0, width - cut, height))
    return image.crop((0, cut, width, height - cut))
