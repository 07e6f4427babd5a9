"""Photos that were sent as text."""

from __future__ import annotations

import base64

import pytest
from flask.testing import FlaskClient

from app.http.problems import Code
from app.http.text_photos import text_problem
from tests.app.conftest import encoded, form, multipart

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP")
PHOTOS = {name: encoded(name, (64, 48)) for name in FORMATS}
HEIC = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(500)
TEXT = base64.b64encode(PHOTOS["JPEG"])
CONVERTED = PHOTOS["JPEG"].decode(errors="replace").encode()


@pytest.mark.parametrize("data", [*PHOTOS.values(), HEIC], ids=[*FORMATS, "HEIC"])
def test_base64_text_is_named(data: bytes) -> None:
    text = base64.b64encode(data)
    for variant in (text, base64.urlsafe_b64encode(data), base64.encodebytes(data), b'"%s"' % text):
        problem = text_problem(variant)
        assert problem is not None
        assert problem.code == Code.UNSUPPORTED_FORMAT
        assert "base64" in problem.detail


@pytest.mark.parametrize("text", [b"data:image/jpeg;base64,/9j/4AAQ", b"Data:,x", b" data:x"])
def test_a_data_url_is_named(text: bytes) -> None:
    problem = text_problem(text)
    assert problem is not None
    assert problem.code == Code.UNSUPPORTED_FORMAT
    assert "data: URL" in problem.detail


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "cp1252"])
def test_bytes_that_were_converted_to_utf_8_are_named(name: str, charset: str) -> None:
    problem = text_problem(PHOTOS[name].decode(charset, "replace").encode())
    assert problem is not None
    assert problem.code == Code.DAMAGED_PHOTO
    assert "UTF-8" in problem.detail


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_bytes_that_were_converted_to_ascii_are_named(name: str) -> None:
    text = PHOTOS[name].decode("ascii", "replace").replace("\ufffd", "?")
    problem = text_problem(text.encode())
    assert problem is not None
    assert problem.code == Code.DAMAGED_PHOTO


@pytest.mark.parametrize(
    "data",
    [
        *PHOTOS.values(),
        *(photo[:500] for photo in PHOTOS.values()),
        b"just some words",
        b"BMWBMWBMWBMWBMWBMWBMWBMWBMWBMW",
        "Rosen sind rot, Veilchen blau, größer \ufffd".encode(),
        bytes(5000),
        b"%PDF-1.7 words",
        b"",
    ],
)
def test_other_files_are_not_taken_for_text(data: bytes) -> None:
    assert text_problem(data) is None


def test_a_response_names_the_cause(client: FlaskClient) -> None:
    for data, code, fragment in (
        (TEXT, Code.UNSUPPORTED_FORMAT, "base64"),
        (CONVERTED, Code.DAMAGED_PHOTO, "UTF-8"),
    ):
        for arguments in (
            {"data": data, "content_type": "image/jpeg"},
            form(data),
            multipart(("image", None, data)),
            {"json": {"image": base64.b64encode(data).decode()}},
        ):
            problem = client.post("/predict", **arguments).get_json()
            assert problem["code"] == code
            assert fragment in problem["detail"]


def test_a_photo_that_resembles_converted_text_is_accepted(client: FlaskClient) -> None:
    # A BMP of one color, whose bytes are valid UTF-8 with the replacement character.
    width, height = 64, 32
    pixels = b"\xef\xbf\xbd" * width * height
    head = b"BM" + (54 + len(pixels)).to_bytes(4, "little") + bytes(4)
    head += bytes([54, 0, 0, 0, 40, 0, 0, 0, width, 0, 0, 0, height, 0, 0, 0, 1, 0, 24])
    bitmap = head.ljust(54, b"\0") + pixels
    assert bitmap.decode()
    response = client.post("/predict", data=bitmap, content_type="image/bmp")
    assert response.status_code == 200
