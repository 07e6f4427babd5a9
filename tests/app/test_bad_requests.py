"""A script of bad requests that must leave the server alive and right."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.app.conftest import MakeApp, encoded, form, multipart

PHOTO = encoded()
IMAGE = "image/jpeg"

BAD: dict[str, tuple[int, dict[str, Any]]] = {
    "no body": (400, {}),
    "an empty body": (400, {"data": b"", "content_type": IMAGE}),
    "an empty file": (400, {**form(b"")}),
    "text as an image": (415, {"data": b"words " * 1000, "content_type": IMAGE}),
    "a page as an image": (415, {"data": b"<html>", "content_type": IMAGE}),
    "zeros": (415, {"data": b"\0" * 10_000, "content_type": IMAGE}),
    "a JPEG of one byte": (400, {"data": PHOTO[:1], "content_type": IMAGE}),
    "a JPEG of ten bytes": (400, {"data": PHOTO[:10], "content_type": IMAGE}),
    "a truncated JPEG": (400, {"data": PHOTO[:-500], "content_type": IMAGE}),
    "a truncated PNG": (400, {"data": encoded("PNG")[:-500], "content_type": IMAGE}),
    "a PNG with a damaged middle": (
        400,
        {"data": encoded("PNG")[:4000] + b"\xff" * 4000 + encoded("PNG")[8000:]},
    ),
    "a wrong field": (400, {**form(PHOTO, field="file")}),
    "text in the field": (400, multipart(("image", None, b"x"))),
    "twenty parts": (413, multipart(*((f"f{number}", "a.jpg", b"x") for number in range(20)))),
    "a huge body": (413, {"data": b"\xff" * 3_000_000, "content_type": IMAGE}),
    "a huge field of text": (413, multipart(("image", None, b"x" * 1_000_000))),
    "a form without a boundary": (400, {"data": PHOTO, "content_type": "multipart/form-data"}),
    "JSON": (415, {"json": {"image": "x"}}),
    "top_k of 0": (422, {"query_string": "top_k=0", **form(PHOTO)}),
    "top_k of 103": (422, {"query_string": "top_k=103", **form(PHOTO)}),
    "top_k in words": (422, {"query_string": "top_k=abc", **form(PHOTO)}),
    "top_k of nothing": (422, {"query_string": "top_k=", **form(PHOTO)}),
    "a wrong method": (405, {"method": "PUT", **form(PHOTO)}),
    "an unknown path": (404, {"path": "/predictions", **form(PHOTO)}),
    "a path out of the folder": (404, {"path": "/static/../../wsgi.py", "method": "GET"}),
}


@pytest.fixture
def small_client(make_app: MakeApp) -> FlaskClient:
    return make_app(max_body_mib=2).test_client()


@pytest.mark.parametrize("name", BAD)
def test_a_good_photo_is_answered_right_after(small_client: FlaskClient, name: str) -> None:
    expected = small_client.post("/predict", **form(PHOTO)).get_json()["predictions"]
    status, request = BAD[name]
    request = {"path": "/predict", "method": "POST", **request}
    if isinstance(request.get("data"), bytes):
        request.setdefault("content_type", IMAGE)
    response = small_client.open(**request)
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    assert small_client.get("/readyz").status_code == 200
    assert small_client.post("/predict", **form(PHOTO)).get_json()["predictions"] == expected
