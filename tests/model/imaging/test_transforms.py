"""The evaluation transform, compared with torchvision."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from model.imaging import transforms
from model.imaging.decode import decode_image
from model.imaging.resize import resize
from model.imaging.transforms import EvaluationTransform
from tests.conftest import flower_image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BICUBIC = EvaluationTransform(292, 260, "bicubic", IMAGENET_MEAN, IMAGENET_STD)
TRANSFORMS = {
    "bicubic": BICUBIC,
    "bilinear": EvaluationTransform(256, 224, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.4, 0.3)),
    "odd margin": EvaluationTransform(255, 224, "bicubic", IMAGENET_MEAN, IMAGENET_STD),
    "no margin": EvaluationTransform(160, 160, "bicubic", IMAGENET_MEAN, IMAGENET_STD),
}


def by_torchvision(transform: EvaluationTransform, image: Image.Image) -> Any:
    steps = v2.Compose(
        [
            v2.Resize(transform.resize, InterpolationMode(transform.interpolation), antialias=True),
            v2.CenterCrop(transform.crop),
        ]
    )
    return np.asarray(steps(image)).astype(np.int16)


def assert_matches_torchvision(transform: EvaluationTransform, image: Image.Image) -> None:
    """Check that few values differ, and by at most 3 of 256 shades.

    The resizers round positions and weights in their own ways. torchvision's Pillow resizes the
    rows of a tall image first, which rounds more values. Bilinear weights end in ties more often.
    """
    tall = image.height > 2 * image.width
    share = 0.2 if tall else 0.1 if transform.interpolation == "bilinear" else 0.02
    got, expected = transform(image), by_torchvision(transform, image)
    assert got.shape == (transform.crop, transform.crop, 3)
    shades = np.abs(got - expected)
    assert shades.max() <= 3
    assert np.mean(shades > 0) < share


def photos_of_each_shape(folder: Path, n: int) -> list[Path]:
    """Choose up to `n` portraits, landscapes and squares each."""
    chosen: dict[int, list[Path]] = {-1: [], 0: [], 1: []}
    for path in sorted(folder.rglob("*.*")):
        with Image.open(path) as image:
            shape = chosen[(image.width > image.height) - (image.width < image.height)]
        if len(shape) < n:
            shape.append(path)
    assert all(chosen.values())
    return list(itertools.chain(*chosen.values()))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
def test_real_photos_match_torchvision(data_dir: Path, name: str) -> None:
    transform = TRANSFORMS[name]
    paths = photos_of_each_shape(data_dir / "valid", 18)
    assert len(paths) >= 36
    for path in paths:
        assert_matches_torchvision(transform, decode_image(path))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize(
    "size",
    [
        (500, 375),
        (375, 500),
        (501, 333),
        (297, 1187),
        (260, 260),
        (292, 292),
        (292, 400),
        (1111, 778),
        (97, 61),
        (16, 16),
        (16, 64),
        (64, 16),
        (399, 100),
        (400, 100),
    ],
)
def test_drawn_images_match_torchvision(name: str, size: tuple[int, int]) -> None:
    transform, image = TRANSFORMS[name], flower_image(size)
    got = transform(image)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert_matches_torchvision(transform, image)


@pytest.mark.parametrize("size", [(1000, 200), (200, 1000), (1001, 200), (161, 16), (33, 400)])
def test_the_middle_of_a_long_strip_matches_torchvision(size: tuple[int, int]) -> None:
    image = flower_image(size)
    difference = np.abs(BICUBIC(image) - by_torchvision(BICUBIC, image))
    # The rounded longer side shifts the crop by a part of a pixel.
    assert difference.mean() < 3


@pytest.mark.parametrize("size", [(16, 60_000), (60_000, 16), (4_000_000, 16)])
def test_a_strip_is_cropped_before_it_is_enlarged(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resized = []

    def recording(image: Image.Image, size: tuple[int, int], *rest: Any) -> Image.Image:
        resized.append(size)
        return resize(image, size, *rest)

    monkeypatch.setattr(transforms, "resize", recording)
    strip = Image.new("RGB", size, (124, 116, 104))
    got = BICUBIC(strip)
    assert got.shape == (260, 260, 3)
    assert (got == (124, 116, 104)).all()
    assert resized
    assert all(max(size) <= 5 * BICUBIC.resize for size in resized)


def test_an_image_is_not_changed_by_its_transform() -> None:
    image = flower_image((260, 260))
    before = image.tobytes()
    BICUBIC(image)
    assert image.tobytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"interpolation": "lanczos"},
        {"interpolation": ""},
        {"crop": 0},
        {"crop": -1},
        {"crop": 293},
        {"resize": 0},
        {"crop": 10**9, "resize": 10**9},
        {"mean": (0.5, 127.5, 0.5)},
        {"std": (0.5, 5e-324, 0.5)},
        {"std": (0.5, 0.0, 0.5)},
        {"std": (0.5, -0.1, 0.5)},
        {"mean": (0.5, float("nan"), 0.5)},
        {"std": (0.5, 0.5, float("nan"))},
        {"std": (0.5, 0.5, float("inf"))},
    ],
)
def test_a_value_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the messages differ
        dataclasses.replace(BICUBIC, **changes)


def test_the_backbones_configuration_sets_the_transform() -> None:
    config = {
        "input_size": (3, 260, 260),
        "crop_pct": 0.89,
        "interpolation": "bicubic",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    }
    assert EvaluationTransform.from_data_config(config) == BICUBIC


def test_another_image_size_keeps_the_crop_ratio() -> None:
    config = {
        "input_size": (3, 224, 224),
        "crop_pct": 0.875,
        "interpolation": "random",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    }
    transform = EvaluationTransform.from_data_config(config, image_size=112)
    assert (transform.resize, transform.crop) == (128, 112)
    assert transform.interpolation == "bicubic"
