"""Preparation of photos: decoding in the limiter, preview and network input."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.http.problems import Problem
from app.inference import photos
from app.inference.errors import DeadlineExceededError
from app.inference.photos import PREVIEW_SIDE, PreparedPhoto, prepare_photo
from model.classifier import Classifier
from model.imaging.decode import decode_image
from model.imaging.decode_limiter import DecodeLimiter
from model.imaging.limits import ImageLimits
from tests.app.conftest import encoded, form

LARGE = encoded("PNG", (2400, 1800))


@pytest.fixture
def prepare(classifier: Classifier) -> Any:
    def prepare(data: bytes, seconds: float = 60, *, preview: bool = True) -> PreparedPhoto:
        deadline, transform = time.monotonic() + seconds, classifier.metadata.transform
        return prepare_photo(data, ImageLimits(), transform, deadline, preview=preview)

    return prepare


def test_no_photo_is_decoded_after_the_deadline(prepare: Any, photo: bytes) -> None:
    with pytest.raises(DeadlineExceededError):
        prepare(photo, -1)
    assert prepare(photo).preview.mode == "RGB"


def test_the_input_is_made_of_the_full_image_and_the_preview_is_small(
    prepare: Any, classifier: Classifier
) -> None:
    prepared = prepare(LARGE)
    np.testing.assert_array_equal(prepared.inputs, classifier.preprocess(decode_image(LARGE)))
    assert prepared.preview.size == (PREVIEW_SIDE, PREVIEW_SIDE * 3 // 4)
    assert prepared.size == (2400, 1800)


def test_a_small_photo_is_its_own_preview(prepare: Any, photo: bytes) -> None:
    assert prepare(photo).preview.size == (400, 300)


def test_a_preview_is_only_made_on_request(prepare: Any, photo: bytes) -> None:
    prepared = prepare(photo, preview=False)
    assert prepared.preview is None
    assert prepared.size == (400, 300)


def images_of(size: tuple[int, int]) -> int:
    """Return the number of images of a size in memory."""
    images = [item for item in gc.get_objects() if issubclass(type(item), Image.Image)]
    return sum(image.size == size for image in images)


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("data", [LARGE, LARGE[:-4000]], ids=["whole", "truncated"])
def test_no_large_image_outlives_the_decode_limiter(
    prepare: Any, data: bytes, preview: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []

    class Limiter:
        @contextmanager
        def acquire(self, pixels: int, capacity: int) -> Iterator[None]:
            yield
            left.append(images_of((2400, 1800)))

    monkeypatch.setattr(photos, "DECODE_LIMITER", Limiter())
    with suppress(Problem):
        prepare(data, preview=preview)
    assert left == [0]


@pytest.mark.slow
def test_a_large_photo_gets_429_while_the_pixel_budget_is_exhausted(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = DecodeLimiter(timeout=0.05)
    monkeypatch.setattr(photos, "DECODE_LIMITER", limiter)
    with limiter.acquire(64_000_000, 64_000_000):
        response = client.post("/predict", **form(encoded("PNG", (1001, 1000))))
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "1"
        assert response.get_json()["code"] == "decoder_busy"
        assert client.post("/predict", **form(encoded("PNG", (1000, 1000)))).status_code == 200
        # A JPEG of 12 megapixels is decoded at reduced scale, so it is not a large photo.
        assert client.post("/predict", **form(encoded("JPEG", (4000, 3000)))).status_code == 200
