"""Resizing along one axis, compared with Pillow."""

from __future__ import annotations

import platform

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.imaging import resize as module
from model.imaging.resize import INTERPOLATIONS, Box, resize
from tests.conftest import flower_image


def noise(size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def by_pillow(
    image: Image.Image, size: tuple[int, int], interpolation: str, box: Box
) -> Image.Image:
    return image.resize(size, Image.Resampling[interpolation.upper()], box)


def differences(one: Image.Image, other: Image.Image) -> npt.NDArray[np.int16]:
    assert (one.mode, one.size) == (other.mode, other.size)
    difference: npt.NDArray[np.int16] = np.asarray(one, np.int16) - np.asarray(other, np.int16)
    return np.abs(difference)


@pytest.mark.skipif(platform.machine() == "aarch64", reason="it has no wheel")
def test_the_fast_resizer_is_installed() -> None:
    assert module.HAS_RESIZER


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    ("size", "result", "box"),
    [
        ((500, 375), (288, 375), (62.5, 0, 437.5, 375)),
        ((288, 375), (288, 288), (0, 0, 288, 375)),
        ((500, 375), (500, 260), (0, 19.26, 500, 355.7)),
        ((1000, 700), (100, 700), (3.1, 0, 996.2, 700)),
        ((60, 50), (288, 50), (5.2, 0, 55.3, 50)),
        ((16, 16), (16, 224), (0, 0.5, 16, 15.5)),
        ((30_000, 16), (224, 16), (14_990.4, 0, 15_009.6, 16)),
    ],
)
def test_values_are_those_of_pillow_up_to_rounding(
    size: tuple[int, int], result: tuple[int, int], box: Box, interpolation: str
) -> None:
    for image in (noise(size), flower_image(size)):
        before = image.tobytes()
        difference = differences(
            resize(image, result, interpolation, box), by_pillow(image, result, interpolation, box)
        )
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 0.02
        assert image.tobytes() == before


@pytest.mark.slow
def test_an_image_in_several_blocks_of_memory_is_read_correctly() -> None:
    size = (4200, 5200)  # 83 MiB; Pillow's blocks have at most 64
    image = noise((420, 520)).resize(size, Image.Resampling.NEAREST)
    box = (0, 0, *size)
    got = resize(image, (300, size[1]), "bicubic", box)
    assert differences(got, by_pillow(image, (300, size[1]), "bicubic", box)).max() <= 1


def test_pillow_resizes_where_the_fast_resizer_has_no_wheel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HAS_RESIZER", False)
    image, box = flower_image((90, 60)), (10.5, 0, 80, 60)
    got = resize(image, (40, 60), "bicubic", box)
    assert got.tobytes() == by_pillow(image, (40, 60), "bicubic", box).tobytes()
