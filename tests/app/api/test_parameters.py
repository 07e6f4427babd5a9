"""Parameters in the query string and in form fields."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.app.conftest import encoded, multipart


def photo_form(photo: bytes, **fields: str) -> dict[str, Any]:
    texts = [(name, None, value.encode()) for name, value in fields.items()]
    return multipart(*texts, ("image", "photo.jpg", photo))


@pytest.mark.parametrize("path", ["/predict", "/v1/predict"])
def test_form_fields_set_the_parameters(client: FlaskClient, photo: bytes, path: str) -> None:
    response = client.post(path, **photo_form(photo, top_k="2", explain="true"))
    predictions = response.get_json()["predictions"]
    assert len(predictions) == 2
    assert all("activation_map" in item for item in predictions)


def test_a_form_field_combines_photos(client: FlaskClient, photo: bytes) -> None:
    files = [("image", "photo.jpg", data) for data in (photo, encoded(seed=1))]
    response = client.post("/predict", **multipart(*files, ("combine", None, b"true")))
    assert len(response.get_json()["photos"]) == 2


@pytest.mark.parametrize(
    ("value", "expected"), [("0", False), ("false", False), ("1", True), ("true", True)]
)
def test_booleans_accept_numbers_and_words(
    client: FlaskClient, photo: bytes, value: str, expected: bool
) -> None:
    result = client.post(f"/predict?combine={value}", **photo_form(photo)).get_json()
    assert ("photos" in result) is expected


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("?top_k=1", {"top_k": "1"}),
        ("?explain=1", {"explain": "0"}),
        ("", {"top_k": "0"}),
        ("", {"combine": "yes"}),
    ],
)
def test_repeated_and_invalid_values_are_refused(
    client: FlaskClient, photo: bytes, query: str, fields: dict[str, str]
) -> None:
    response = client.post(f"/predict{query}", **photo_form(photo, **fields))
    assert response.status_code == 422
    assert response.get_json()["code"] == "invalid_parameter"


@pytest.mark.parametrize(
    ("query", "nearest"),
    [("topk=1", "top_k"), ("explian=1", "explain"), ("combined=1", "combine"), ("x=1", "")],
)
def test_an_unknown_query_parameter_names_the_nearest(
    client: FlaskClient, photo: bytes, query: str, nearest: str
) -> None:
    response = client.post(f"/predict?{query}", **photo_form(photo))
    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (422, "invalid_parameter")
    assert nearest in problem["detail"]


def test_an_unknown_form_field_is_ignored(client: FlaskClient, photo: bytes) -> None:
    assert client.post("/predict", **photo_form(photo, topk="1")).status_code == 200
