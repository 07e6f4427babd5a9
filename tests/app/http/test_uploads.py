"""Photos in request bodies and forms."""

from __future__ import annotations

import io
import tempfile
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.http.problems import Code
from tests.app.conftest import MakeApp, encoded, form, multipart

MIB = 1024 * 1024


def refusal(response: TestResponse, code: Code) -> str:
    """Assert that a response is this problem, and return its detail."""
    assert response.get_json()["code"] == code, response.text
    assert response.status_code == code.status
    assert response.content_type == "application/problem+json"
    detail: str = response.get_json()["detail"]
    return detail


def chunked(client: FlaskClient, body: bytes, content_type: str) -> TestResponse:
    """Send a body without Content-Length; as with gunicorn, the stream ends after the body."""
    return client.post(
        "/predict",
        input_stream=io.BytesIO(body),
        headers={"Transfer-Encoding": "chunked"},
        content_type=content_type,
        environ_overrides={"wsgi.input_terminated": True},
    )


def test_a_request_without_a_body_is_refused_with_422(client: FlaskClient) -> None:
    refusal(client.post("/predict"), Code.NO_PHOTO)


def test_an_empty_body_is_refused_with_422(client: FlaskClient) -> None:
    response = client.post("/predict", data=b"", content_type="image/jpeg")
    refusal(response, Code.EMPTY_PHOTO)


def test_an_empty_file_is_refused_with_422(client: FlaskClient) -> None:
    refusal(client.post("/predict", **form(b"")), Code.EMPTY_PHOTO)


def test_a_form_without_a_chosen_file_is_refused_with_422(client: FlaskClient) -> None:
    response = client.post("/predict", **form(b"", name=""))
    refusal(response, Code.EMPTY_PHOTO)


def test_text_in_the_photo_field_names_the_field(client: FlaskClient) -> None:
    response = client.post(
        "/predict", data={"image": "photo.jpg"}, content_type="multipart/form-data"
    )
    assert "'image'" in refusal(response, Code.NO_PHOTO)


def test_a_wrong_field_name_is_quoted(client: FlaskClient, photo: bytes) -> None:
    detail = refusal(client.post("/predict", **form(photo, field="photo")), Code.NO_PHOTO)
    assert "'photo'" in detail


def test_only_the_first_wrong_field_names_are_quoted(client: FlaskClient, photo: bytes) -> None:
    parts = [(f"field{number}" + "x" * 500, "a.jpg", photo) for number in range(9)]
    detail = refusal(client.post("/predict", **multipart(*parts)), Code.NO_PHOTO)
    assert detail.count("'field") == 5
    assert len(detail) < 700


def test_two_photos_are_refused_with_422(client: FlaskClient, photo: bytes) -> None:
    parts = multipart(("image", "a.jpg", photo), ("image", "b.jpg", photo))
    refusal(client.post("/predict", **parts), Code.TOO_MANY_PHOTOS)


def test_other_fields_are_ignored(client: FlaskClient, photo: bytes) -> None:
    parts = multipart(("title", None, b"my garden"), ("image", "a.jpg", photo))
    assert client.post("/predict", **parts).status_code == 200


def test_more_parts_than_allowed_are_refused_with_413(client: FlaskClient, photo: bytes) -> None:
    parts = [(f"field{number}", None, b"x") for number in range(19)]
    response = client.post("/predict", **multipart(*parts, ("image", "a.jpg", photo)))
    refusal(response, Code.TOO_MANY_PARTS)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "video/mp4", "image"])
def test_a_body_with_another_content_type_is_refused_with_415(
    client: FlaskClient, photo: bytes, content_type: str
) -> None:
    response = client.post("/predict", data=photo, content_type=content_type)
    assert repr(content_type) in refusal(response, Code.UNSUPPORTED_TYPE)


def test_the_default_content_type_of_curl_is_refused_with_415(
    client: FlaskClient, photo: bytes
) -> None:
    response = client.post("/predict", data=photo, content_type="application/x-www-form-urlencoded")
    refusal(response, Code.UNSUPPORTED_TYPE)


def test_text_with_an_image_name_is_refused_with_415(client: FlaskClient) -> None:
    response = client.post("/predict", **form(b"just some words"))
    refusal(response, Code.UNSUPPORTED_FORMAT)


def test_a_truncated_photo_is_refused_with_422(client: FlaskClient, photo: bytes) -> None:
    response = client.post("/predict", **form(photo[: len(photo) // 2]))
    refusal(response, Code.DAMAGED_PHOTO)


@pytest.mark.slow
def test_a_photo_of_too_many_pixels_is_refused_with_413(make_app: MakeApp) -> None:
    client = make_app(max_megapixels=1).test_client()
    response = client.post("/predict", **form(encoded("PNG", (1001, 1000))))
    detail = refusal(response, Code.TOO_MANY_PIXELS)
    assert "1001×1000" in detail
    assert "1,000,000" in detail
    assert client.post("/predict", **form(encoded("PNG", (1000, 1000)))).status_code == 200


def test_a_photo_that_is_too_small_is_refused_with_422(client: FlaskClient) -> None:
    detail = refusal(client.post("/predict", **form(encoded("PNG", (300, 15)))), Code.TOO_SMALL)
    assert "300×15" in detail
    assert "16" in detail


def padded(size: int) -> bytes:
    """Return a photo of exactly `size` bytes: a BMP with padding after its pixels."""
    photo = encoded("BMP", (64, 64))
    return photo + b"\0" * (size - len(photo))


def test_a_body_at_the_limit_is_accepted_and_one_byte_more_is_not(make_app: MakeApp) -> None:
    client = make_app(max_body_mib=1).test_client()
    fitting, large = padded(MIB), padded(MIB + 1)
    assert client.post("/predict", data=fitting, content_type="image/bmp").status_code == 200
    assert chunked(client, fitting, "image/bmp").status_code == 200
    for response in (
        client.post("/predict", data=large, content_type="image/bmp"),
        chunked(client, large, "image/bmp"),
    ):
        assert "1,048,576" in refusal(response, Code.TOO_LARGE)


def test_a_body_over_the_limit_is_refused_with_its_size(make_app: MakeApp) -> None:
    client = make_app(max_body_mib=1).test_client()
    response = client.post("/predict", data=padded(2 * MIB), content_type="image/bmp")
    assert "2,097,152" in refusal(response, Code.TOO_LARGE)
    response = client.post("/predict", **form(padded(2 * MIB)))
    assert "2,097," in refusal(response, Code.TOO_LARGE)


def test_the_limit_applies_to_a_form_without_content_length(make_app: MakeApp) -> None:
    client = make_app(max_body_mib=1).test_client()
    fitting = multipart(("image", "a.bmp", padded(MIB - 1000)))
    assert chunked(client, fitting["data"], fitting["content_type"]).status_code == 200
    large = multipart(("image", "a.bmp", padded(2 * MIB)))
    response = chunked(client, large["data"], large["content_type"])
    assert "1,048,576" in refusal(response, Code.TOO_LARGE)


def test_a_truncated_body_is_refused_even_if_its_photo_can_be_decoded(
    client: FlaskClient, photo: bytes
) -> None:
    # gunicorn ends the stream early without an error.
    response = client.post(
        "/predict",
        input_stream=io.BytesIO(photo),
        content_type="image/jpeg",
        environ_overrides={"CONTENT_LENGTH": str(len(photo) + 1), "wsgi.input_terminated": True},
    )
    detail = refusal(response, Code.INCOMPLETE_BODY)
    assert f"{len(photo):,}" in detail
    assert f"{len(photo) + 1:,}" in detail


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_form_accepts_large_photos_with_any_bytes(client: FlaskClient, seed: int) -> None:
    # Werkzeug's parser once refused photos with line breaks at the boundary of a chunk.
    photo = encoded("PNG", (900, 700), seed) + b"\r\n\n" * 200_000
    assert client.post("/predict", **form(photo)).status_code == 200


def test_a_field_without_a_name_is_refused_with_422(client: FlaskClient) -> None:
    body = b'--b\r\nContent-Disposition: form-data; filename="a.jpg"\r\n\r\nx\r\n--b--\r\n'
    response = client.post("/predict", data=body, content_type="multipart/form-data; boundary=b")
    refusal(response, Code.NO_PHOTO)


@pytest.mark.slow
def test_a_photo_never_touches_the_disk(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError("Read-only file system")

    photo = encoded("BMP", (1200, 1000))
    data = form(photo)
    for name in ("mkstemp", "mkdtemp", "_mkstemp_inner"):
        monkeypatch.setattr(tempfile, name, no_disk)
    assert client.post("/predict", **data).status_code == 200
    assert client.post("/", **data).status_code == 200
