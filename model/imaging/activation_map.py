"""Class activation maps as overlays for the photo.

The network sees only the central square of the resized photo; the overlay is transparent outside
it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from model.backends.base import Array
from model.imaging.transforms import EvaluationTransform

_COLOUR: Final = (0, 215, 255)  # rare among flowers and leaves, unlike red or orange
_MAX_ALPHA: Final = 200  # of 255: the flower stays visible
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
        An RGBA image with the photo's aspect ratio.
    """
    scale = longest_side / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    view = max(1, round(min(width, height) * transform.crop / transform.resize))
    cells = Image.fromarray(evidence(activations).astype(np.float32))
    strength = np.asarray(cells.resize((view, view), Image.Resampling.BICUBIC)).clip(0, 1)
    alpha = Image.new("L", (width, height), 0)
    seen = Image.fromarray((strength * _MAX_ALPHA).astype(np.uint8))
    alpha.paste(seen, ((width - view) // 2, (height - view) // 2))
    picture = Image.new("RGB", (width, height), _COLOUR)
    picture.putalpha(alpha)
    return picture


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
