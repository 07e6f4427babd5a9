"""Image corruptions of the evaluation."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from model.evaluation.corruptions import CORRUPTIONS
from tests.conftest import flower_image

SHAPES = {
    "rotated by 90°": (90, 120),
    "center crop, × 0.5": (60, 46),
    "downsampled, × 0.25": (30, 22),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_deterministic_and_keeps_an_rgb_image(name: str) -> None:
    image = flower_image((120, 90), 3)
    before = image.tobytes()
    changed = CORRUPTIONS[name](image)
    assert changed.mode == "RGB"
    assert changed.size == SHAPES.get(name, (120, 90))
    assert changed.tobytes() == CORRUPTIONS[name](image).tobytes()
    assert changed.tobytes() != before
    assert image.tobytes() == before
    # Worker processes receive it pickled.
    assert pickle.loads(pickle.dumps(CORRUPTIONS[name])) is CORRUPTIONS[name]


def test_brightness_changes_in_the_named_direction() -> None:
    image = flower_image((60, 60))
    mean = {name: np.asarray(corrupt(image)).mean() for name, corrupt in CORRUPTIONS.items()}
    assert mean["darker, × 0.4"] < 0.5 * np.asarray(image).mean()
    assert mean["brighter, × 1.8"] > 1.2 * np.asarray(image).mean()
