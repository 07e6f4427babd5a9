"""Class activation maps as overlays for the photo.

The network sees only the central square of the resized photo; the overlay darkens the rest.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from model.backends.base import Array
from model.imaging.transforms import EvaluationTransform

COLOUR: Final = (0, 255, 60)  # no petal has it, so it shows on blue and yellow ones, too
_MAX_ALPHA: Final = 200  # of 255: the flower stays visible
_DIM_ALPHA: Final = 130  # of the black outside the visible square
_FEATHER: Final = 0.08  # of the visible square: width of the soft edge
_LONGEST_SIDE: Final = 320  # px; a map has about ten cells per side, so more shows no detail


def evidence(activations: Array) -> Array:
    """Return the positive part of a class activation map, scaled to [0, 1].

    Args:
        activations: float32 (h, w).

    Returns:
        float32 (h, w), whose largest value is 1; all 0 if no activation is positive.
    """
    positive = np.maximum(activations, 0)
    strongest = positive.max()
    scaled: Array = positive / strongest if strongest > 0 else positive
    return scaled


def overlay(
    activations: Array,
    size: tuple[int, int],
    transform: EvaluationTransform,
    longest_side: int = _LONGEST_SIDE,
) -> Image.Image:
    """Draw a class activation map (Zhou et al. 2016) as a transparent overlay.

    Args:
        activations: float32 (h, w), one class of `Outputs.activations`.
        size: Width and height of the upright photo, in any unit.
        transform: Transform of the network; it defines the visible square.
        longest_side: Longest side of the overlay, in pixels.

    Returns:
        An RGBA image with the photo's aspect ratio: `COLOUR` by the evidence, and black outside the
        visible square. Both fade into each other where the square ends inside the photo.
    """
    scale = longest_side / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    view = max(1, round(min(width, height) * transform.crop / transform.resize))
    cells = Image.fromarray(evidence(activations).astype(np.float32))
    strength = np.zeros((height, width), np.float32)
    top, left = (height - view) // 2, (width - view) // 2
    strength[top : top + view, left : left + view] = np.asarray(
        cells.resize((view, view), Image.Resampling.BICUBIC)
    ).clip(0, 1)
    seen = np.outer(_fade(height, view), _fade(width, view))
    colour = strength * seen * (_MAX_ALPHA / 255)
    black = (1 - seen) * (_DIM_ALPHA / 255)
    # Colour over black.
    alpha = colour + black * (1 - colour)
    share = np.divide(colour, alpha, out=np.ones_like(alpha), where=alpha > 0)
    pixels = np.dstack([*(share * value for value in COLOUR), alpha * 255])
    return Image.fromarray(pixels.round().astype(np.uint8))


def _fade(side: int, view: int) -> Array:
    """Return how far each pixel of one axis is inside the centred `view`: float32 (side,), 0 to 1.

    The soft edge lies inside the view. An axis that is seen completely has none.
    """
    if view >= side:
        return np.ones(side, np.float32)
    first = (side - view) // 2
    place = np.arange(side, dtype=np.float32) - first + 0.5
    inside = np.minimum(place, view - place) / (_FEATHER * view)
    ramp: Array = inside.clip(0, 1)
    smooth: Array = ramp * ramp * (3 - 2 * ramp)
    return smooth


def laid_over(photo: Image.Image, picture: Image.Image) -> Image.Image:
    """Composite an `overlay` onto its photo.

    Args:
        photo: Upright RGB image.
        picture: RGBA overlay of any size.

    Returns:
        A new RGB image of the photo's size.
    """
    layer = picture.resize(photo.size, Image.Resampling.BICUBIC)
    return Image.alpha_composite(photo.convert("RGBA"), layer).convert("RGB")
