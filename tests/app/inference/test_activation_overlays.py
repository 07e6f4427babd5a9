"""Activation overlays of a photo's predictions."""

from __future__ import annotations

import time

import numpy as np
import pytest

from app.inference.activation_overlays import draw_overlays
from app.inference.errors import DeadlineExceededError
from model.classifier import Classifier


def test_overlays_are_drawn_until_the_deadline(classifier: Classifier) -> None:
    predictions = classifier.rank(np.full(6, 1 / 6, np.float32), top_k=3)
    activations = np.ones((6, 3, 3), np.float32)

    def draw(seconds: float) -> tuple[str, ...]:
        deadline = time.monotonic() + seconds
        return draw_overlays(predictions, activations, (40, 30), classifier.metadata, deadline)

    assert len(draw(60)) == 3
    with pytest.raises(DeadlineExceededError):
        draw(-1)
