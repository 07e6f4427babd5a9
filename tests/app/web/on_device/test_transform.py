"""The transform in JavaScript, compared with the service's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.backends.reference import reference_input
from model.imaging import resize as resize_module
from model.imaging.resize import INTERPOLATIONS
from model.imaging.transforms import EvaluationTransform
from tests.app.web.on_device import SCRIPTS
from tests.conftest import flower_image
from tests.node import imported, run_in_node

MEAN = STD = (0.5, 0.5, 0.5)

IMPORTS = "\n".join(
    (
        'import { readFileSync, writeFileSync } from "node:fs";',
        imported("networkInput", SCRIPTS / "transform.js"),
        imported("openPhoto, DEFAULT_LIMITS", SCRIPTS / "photo_pixels.js"),
        imported("referencePhoto", SCRIPTS / "reference.js"),
    )
)

Pixels = npt.NDArray[np.int16]


def noise(size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def transform_of(resize: int, crop: int, interpolation: str = "bicubic") -> EvaluationTransform:
    return EvaluationTransform(resize, crop, interpolation, MEAN, STD)


def values(transform: EvaluationTransform) -> str:
    names = ("resize", "crop", "interpolation")
    return json.dumps({name: getattr(transform, name) for name in names})


def by_javascript(image: Image.Image, transform: EvaluationTransform, folder: Path) -> Pixels:
    (folder / "photo").write_bytes(image.convert("RGBA").tobytes())
    run_in_node(
        IMPORTS,
        f"const data = new Uint8ClampedArray(readFileSync({json.dumps(str(folder / 'photo'))}));"
        f"const [width, height] = {json.dumps(image.size)};"
        "const photo = await openPhoto({ width, height, data }, DEFAULT_LIMITS);"
        f"const input = networkInput(photo, {values(transform)});"
        f"writeFileSync({json.dumps(str(folder / 'input'))}, input);",
    )
    made = np.frombuffer((folder / "input").read_bytes(), np.uint8).astype(np.int16)
    return made.reshape(transform.crop, transform.crop, 3)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    ("size", "resize", "crop"),
    [
        ((500, 375), 288, 288),
        ((375, 501), 292, 288),
        ((1201, 803), 288, 224),
        ((288, 288), 288, 288),
        ((288, 400), 288, 288),  # nothing to resize
        ((301, 288), 288, 287),
        ((60, 50), 288, 288),
        ((16, 16), 224, 224),
        ((3000, 40), 96, 96),  # a strip, of which the middle is used
        ((41, 3001), 96, 95),
    ],
)
def test_the_network_sees_the_same_pixels(
    size: tuple[int, int],
    resize: int,
    crop: int,
    interpolation: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transform = transform_of(resize, crop, interpolation)
    image = Image.blend(noise(size), flower_image(size), 0.3)
    got = by_javascript(image, transform, tmp_path)
    fast = np.abs(got - transform(image).astype(np.int16))
    assert fast.max() <= 2
    assert np.mean(fast > 0) < 0.05
    monkeypatch.setattr(resize_module, "HAS_RESIZER", False)
    assert np.array_equal(got, transform(image))


def test_a_large_photo_is_read_in_strips(tmp_path: Path) -> None:
    transform = transform_of(64, 64)
    image = flower_image((1700, 1300))
    got = by_javascript(image, transform, tmp_path)
    assert np.abs(got - transform(image).astype(np.int16)).max() <= 2
    strips = run_in_node(
        IMPORTS,
        "const strips = [];"
        "const read = (x, y, width, height) => {"
        " strips.push([width, height]); return new Uint8ClampedArray(4 * width * height); };"
        f"networkInput({{ width: 1700, height: 1300, read }}, {values(transform)});"
        "return strips;",
    )
    assert sum(height for _, height in strips) == 1300
    assert max(width * height for width, height in strips) <= 1_000_000


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    image = flower_image((64, 64)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((64, 64)))
    white = Image.new("RGBA", image.size, "white")
    expected = np.asarray(Image.alpha_composite(white, image).convert("RGB"), np.int16)
    got = by_javascript(image, transform_of(64, 64), tmp_path)
    assert np.abs(got - expected).max() <= 1


def test_the_reference_image_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transform = transform_of(288, 256)
    path = json.dumps(str(tmp_path / "input"))
    run_in_node(
        IMPORTS,
        f"writeFileSync({path}, networkInput(referencePhoto(), {values(transform)}));",
    )
    monkeypatch.setattr(resize_module, "HAS_RESIZER", False)
    assert (tmp_path / "input").read_bytes() == reference_input(transform).tobytes()


@pytest.mark.parametrize(
    ("photo", "limits", "code"),
    [
        ({"width": 15, "height": 300, "data": []}, {}, "too_small"),
        ({"width": 9000, "height": 9000, "data": []}, {}, "too_many_pixels"),
        ({"width": 20, "height": 20, "data": []}, {"maxPixels": 399}, "too_many_pixels"),
        ({"width": 20, "height": 20, "data": []}, {"minSide": 21}, "too_small"),
    ],
)
def test_sizes_are_refused_with_the_codes_of_the_service(
    photo: dict[str, Any], limits: dict[str, int], code: str
) -> None:
    call = f"openPhoto({json.dumps(photo)}, {{ ...DEFAULT_LIMITS, ...{json.dumps(limits)} }})"
    assert run_in_node(IMPORTS, f"return {call}.catch((error) => error.code);") == code
