"""Request bodies of the benchmarks. The benchmarks need wrk and an idle machine."""

from __future__ import annotations

import io

import pytest
from flask.testing import FlaskClient
from PIL import Image

from benchmarks.load import Target
from benchmarks.photos import photo


def test_a_generated_photo_has_the_requested_size_and_a_realistic_file_size() -> None:
    data = photo(500)
    assert Image.open(io.BytesIO(data)).size == (500, 375)
    assert 30_000 < len(data) < 200_000


@pytest.mark.parametrize("field", ["image", None])
def test_the_service_accepts_the_generated_bodies(client: FlaskClient, field: str | None) -> None:
    body, kind = Target("/predict", field).body(photo(300))
    assert client.post("/predict", data=body, content_type=kind).status_code == 200
