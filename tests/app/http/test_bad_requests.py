"""Bad requests, each followed by a valid photo."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.http.problems import Code
from tests.app.conftest import MakeApp, encoded, form, multipart

PHOTO = encoded()
IMAGE = "image/jpeg"

BAD: dict[str, tuple[Code, dict[str, Any]]] = {
    "no body": (Code.NO_PHOTO, {}),
    "an empty body": (Code.EMPTY_PHOTO, {"data": b"", "content_type": IMAGE}),
    "an empty file": (Code.EMPTY_PHOTO, {**form(b"")}),
    "text as an image": (
        Code.UNSUPPORTED_FORMAT,
        {"data": b"words " * 1000, "content_type": IMAGE},
    ),
    "HTML as an image": (Code.UNSUPPORTED_FORMAT, {"data": b"<html>", "content_type": IMAGE}),
    "zeros": (Code.UNSUPPORTED_FORMAT, {"data": b"\0" * 10_000, "content_type": IMAGE}),
    "a JPEG of one byte": (Code.DAMAGED_PHOTO, {"data": PHOTO[:1], "content_type": IMAGE}),
    "a JPEG of ten bytes": (Code.DAMAGED_PHOTO, {"data": PHOTO[:10], "content_type": IMAGE}),
    "a truncated JPEG": (Code.DAMAGED_PHOTO, {"data": PHOTO[:-500], "content_type": IMAGE}),
    "a truncated PNG": (Code.DAMAGED_PHOTO, {"data": encoded("PNG")[:-500], "content_type": IMAGE}),
    "a PNG damaged in the middle": (
        Code.DAMAGED_PHOTO,
        {"data": encoded("PNG")[:4000] + b"\xff" * 4000 + encoded("PNG")[8000:]},
    ),
    "a wrong field": (Code.NO_PHOTO, {**form(PHOTO, field="file")}),
    "text in the photo field": (Code.NO_PHOTO, multipart(("image", None, b"x"))),
    "twenty parts": (
        Code.TOO_MANY_PARTS,
        multipart(*((f"f{number}", "a.jpg", b"x") for number in range(20))),
    ),
    "a huge body": (Code.TOO_LARGE, {"data": b"\xff" * 3_000_000, "content_type": IMAGE}),
    "a huge text field": (Code.TOO_MANY_PARTS, multipart(("title", None, b"x" * 1_000_000))),
    "huge text in the photo field": (Code.NO_PHOTO, multipart(("image", None, b"x" * 1_000_000))),
    "a form without a boundary": (
        Code.BAD_REQUEST,
        {"data": PHOTO, "content_type": "multipart/form-data"},
    ),
    "a packed body": (
        Code.UNSUPPORTED_ENCODING,
        {"data": PHOTO, "headers": {"Content-Encoding": "gzip"}},
    ),
    "XML": (Code.UNSUPPORTED_TYPE, {"data": b"<image/>", "content_type": "application/xml"}),
    "JSON without a photo": (Code.NO_PHOTO, {"json": {"image": "x"}}),
    "JSON with an unknown member": (
        Code.INVALID_PARAMETER,
        {"json": {"image": "/9j/4AAQ", "url": "x"}},
    ),
    "truncated JSON": (
        Code.BAD_REQUEST,
        {"data": b'{"image": "', "content_type": "application/json"},
    ),
    "base64 as an image": (
        Code.UNSUPPORTED_FORMAT,
        {"data": base64.b64encode(PHOTO), "content_type": IMAGE},
    ),
    "top_k of 0": (Code.INVALID_PARAMETER, {"query_string": "top_k=0", **form(PHOTO)}),
    "top_k of 103": (Code.INVALID_PARAMETER, {"query_string": "top_k=103", **form(PHOTO)}),
    "top_k that is not a number": (
        Code.INVALID_PARAMETER,
        {"query_string": "top_k=abc", **form(PHOTO)},
    ),
    "an empty top_k": (Code.INVALID_PARAMETER, {"query_string": "top_k=", **form(PHOTO)}),
    "a wrong method": (Code.METHOD_NOT_ALLOWED, {"method": "PUT", **form(PHOTO)}),
    "an unknown path": (Code.NOT_FOUND, {"path": "/predictions", **form(PHOTO)}),
    "a path outside the folder": (
        Code.NOT_FOUND,
        {"path": "/static/../../wsgi.py", "method": "GET"},
    ),
}


@pytest.fixture
def small_client(make_app: MakeApp) -> FlaskClient:
    return make_app(max_body_mib=2).test_client()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_gets_its_code_and_affects_no_later_one(
    small_client: FlaskClient, name: str
) -> None:
    expected = small_client.post("/predict", **form(PHOTO)).get_json()["predictions"]
    code, request = BAD[name]
    request = {"path": "/predict", "method": "POST", **request}
    if isinstance(request.get("data"), bytes):
        request.setdefault("content_type", IMAGE)
    response = small_client.open(**request)
    assert response.get_json()["code"] == code, response.text
    assert response.status_code == response.get_json()["status"] == code.status
    assert response.content_type == "application/problem+json"
    assert small_client.get("/readyz").status_code == 200
    assert small_client.post("/predict", **form(PHOTO)).get_json()["predictions"] == expected
