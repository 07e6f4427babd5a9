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

_COLOUR: Final = (0, 215, 255)  # rare among flowers and leaves: red or orange would vanish on many
_STRONGEST: Final = 200  # of 255: the flower stays visible below
_LONGEST_SIDE: Final = 320  # px; the map has some ten cells a side, and is smooth between them


def evidence(activations: Array) -> Array:
    """Return what speaks for a class, float32 (h, w) in [0, 1], from its map (h, w).

    What speaks against it, below 0, is left out; the strongest cell has 1, unless none speaks for.
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
    """Draw a class activation map as a transparent RGBA picture of the photo's shape.

    Args:
        activations: float32 (h, w), one class of `Outputs.activations`.
        size: Width and height of the upright photo, in any unit.
        transform: By which the network saw it.
        longest_side: Of the result, in pixels.
    """
    scale = longest_side / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    view = max(1, round(min(width, height) * transform.crop / transform.resize))
    cells = Image.fromarray(evidence(activations).astype(np.float32))
    strength = np.asarray(cells.resize((view, view), Image.Resampling.BICUBIC)).clip(0, 1)
    alpha = Image.new("L", (width, height), 0)
    seen = Image.fromarray((strength * _STRONGEST).astype(np.uint8))
    alpha.paste(seen, ((width - view) // 2, (height - view) // 2))
    picture = Image.new("RGB", (width, height), _COLOUR)
    picture.putalpha(alpha)
    return picture


def laid_over(photo: Image.Image, picture: Image.Image) -> Image.Image:
    """Lay an `overlay` over its upright RGB photo; return a new RGB image of the photo's size."""
    layer = picture.resize(photo.size, Image.Resampling.BICUBIC)
    return Image.alpha_composite(photo.convert("RGBA"), layer).convert("RGB")
