"""The benchmarks themselves need wrk and quiet; this is what they rest on."""

from __future__ import annotations

import io

import pytest
from flask.testing import FlaskClient
from PIL import Image

from benchmarks.load import Target
from benchmarks.photos import photo


def test_a_photo_is_as_large_as_was_asked_for_and_as_heavy_as_photos_are() -> None:
    data = photo(500)
    assert Image.open(io.BytesIO(data)).size == (500, 375)
    assert 30_000 < len(data) < 200_000


@pytest.mark.parametrize("field", ["image", None])
def test_a_body_is_one_that_the_service_takes(client: FlaskClient, field: str | None) -> None:
    body, kind = Target("/predict", field).body(photo(300))
    assert client.post("/predict", data=body, content_type=kind).status_code == 200
