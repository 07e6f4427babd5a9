"""Class activation overlays for the predictions of a photo."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from app.http.data_urls import data_url
from app.inference.errors import DeadlineExceededError
from model.imaging.activation_map import overlay

if TYPE_CHECKING:
    from model.backends.base import Array
    from model.checkpoint.metadata import Metadata
    from model.classifier import Prediction

# Predictions of a photo that can be explained. An overlay takes some milliseconds.
MAX_EXPLAINED: Final = 10


def draw_overlays(
    predictions: list[Prediction],
    activations: Array,
    size: tuple[int, int],
    metadata: Metadata,
    deadline: float,
) -> tuple[str, ...]:
    """Return the activation map of each prediction, as the data URL of a transparent PNG.

    Args:
        predictions: Predictions of the photo.
        activations: Class activation maps, float32 (classes, h, w).
        size: Width and height of the upright photo, in any unit.
        metadata: Metadata of the checkpoint.
        deadline: When the request times out, by `time.monotonic`.

    Raises:
        DeadlineExceededError: The deadline passed.
    """
    index = {item.class_id: number for number, item in enumerate(metadata.classes)}
    overlays = []
    for prediction in predictions:
        if time.monotonic() > deadline:
            raise DeadlineExceededError
        picture = overlay(activations[index[prediction.class_id]], size, metadata.transform)
        overlays.append(data_url(picture, "PNG"))
    return tuple(overlays)
