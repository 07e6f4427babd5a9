"""The changes under which a model is measured: fixed, visible, and still photos."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from model.evaluation.corruptions import CORRUPTIONS
from tests.conftest import flower_image

SHAPES = {
    "turned by 90°": (90, 120),
    "central half of each side": (60, 46),
    "a quarter of the resolution": (30, 22),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_change_is_always_the_same_and_keeps_a_photo_a_photo(name: str) -> None:
    image = flower_image((120, 90), 3)
    before = image.tobytes()
    changed = CORRUPTIONS[name](image)
    assert changed.mode == "RGB"
    assert changed.size == SHAPES.get(name, (120, 90))
    assert changed.tobytes() == CORRUPTIONS[name](image).tobytes()
    assert changed.tobytes() != before
    assert image.tobytes() == before
    # As a process that decodes is handed it, where processes are spawned.
    assert pickle.loads(pickle.dumps(CORRUPTIONS[name])) is CORRUPTIONS[name]


def test_light_goes_the_way_that_its_name_says() -> None:
    image = flower_image((60, 60))
    mean = {name: np.asarray(change(image)).mean() for name, change in CORRUPTIONS.items()}
    assert mean["darker, × 0.4"] < 0.5 * np.asarray(image).mean()
    assert mean["brighter, × 1.8"] > 1.2 * np.asarray(image).mean()
