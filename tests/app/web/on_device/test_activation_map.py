"""Overlays of activation maps in JavaScript, compared with the service's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model.imaging.activation_map import overlay
from model.imaging.transforms import EvaluationTransform
from tests.app.web.on_device import SCRIPTS
from tests.node import imported, run_in_node

IMPORTS = imported("overlay", SCRIPTS / "activation_map.js")


@pytest.mark.parametrize(
    ("size", "cells", "resize", "crop"),
    [
        ((640, 480), (9, 9), 288, 288),
        ((480, 641), (9, 9), 288, 224),
        ((300, 300), (7, 7), 64, 64),
        ((2000, 31), (9, 9), 288, 288),
        ((50, 40), (3, 4), 96, 90),
    ],
)
def test_overlays_are_those_of_the_service(
    size: tuple[int, int], cells: tuple[int, int], resize: int, crop: int
) -> None:
    transform = EvaluationTransform(resize, crop, "bicubic", (0.5,) * 3, (0.5,) * 3)
    values = np.random.default_rng(2).normal(size=cells).astype(np.float32)
    width, height = size
    got = run_in_node(
        IMPORTS,
        f"const map = Float32Array.from({json.dumps(values.ravel().tolist())});"
        f"const made = overlay(map, {cells[1]}, {{ width: {width}, height: {height} }}, "
        f"{{ resize: {resize}, crop: {crop} }});"
        "return [made.width, made.height, Array.from(made.data)];",
    )
    expected = overlay(values, size, transform)
    assert (got[0], got[1]) == expected.size
    pixels = np.array(got[2], np.int16).reshape(expected.height, expected.width, 4)
    assert np.abs(pixels - np.asarray(expected, np.int16)).max() <= 1


def test_a_map_without_evidence_only_darkens_the_rest() -> None:
    made = run_in_node(
        IMPORTS,
        "const made = overlay(new Float32Array(9).fill(-1), 3, { width: 90, height: 60 }, "
        "{ resize: 60, crop: 60 });"
        "return [made.width, made.height, Array.from(made.data)];",
    )
    alpha = np.array(made[2]).reshape(made[1], made[0], 4)[..., 3]
    assert alpha[:, made[0] // 2].max() == 0
    assert alpha[:, 0].min() > 0
