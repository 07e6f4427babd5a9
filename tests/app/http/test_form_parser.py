"""Forms of clients that differ from browsers, and photos as JSON."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.sansio.multipart import MultipartDecoder
from werkzeug.test import EnvironBuilder, TestResponse

from app.http.form_parser import BoundaryPattern
from app.http.problems import Code, Problem
from app.http.request_body import UploadRequest
from app.http.uploads import HOW_TO_SEND, read_photos
from tests.app.conftest import MakeApp, encoded, multipart

MIB = 1024 * 1024
BOUNDARY = b"0123456789"
FORM = "multipart/form-data; boundary=0123456789"
JSON = "application/json"
PHOTO = encoded()
NAME = b'name="image"'


def read(body: bytes, content_type: str = FORM, most: int = 1, **environ: Any) -> list[bytes]:
    """Return the photos of a request."""
    builder = EnvironBuilder(
        method="POST", input_stream=io.BytesIO(body), content_type=content_type
    )
    base = {"CONTENT_LENGTH": str(len(body)), "wsgi.input_terminated": True}
    request = UploadRequest({**builder.get_environ(), **base, **environ})
    request.max_content_length = MIB + 1
    return read_photos(request, MIB, lambda: most)


def refused(body: bytes, content_type: str = FORM, most: int = 1, **environ: Any) -> Problem:
    """Return the problem of a request without a usable photo."""
    with pytest.raises(Problem) as caught:
        read(body, content_type, most, **environ)
    return caught.value


def parts(*described: tuple[bytes, bytes]) -> bytes:
    """Build a form of (headers, data)."""
    body = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY, *part) for part in described)
    return body + b"--%s--\r\n" % BOUNDARY


def disposition(*options: bytes) -> bytes:
    return b"; ".join((b"Content-Disposition: form-data", *options))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(disposition(NAME), id="no file name"),
        pytest.param(disposition(b"name=image"), id="no quotes"),
        pytest.param(disposition(NAME) + b"\r\nContent-Length: 5", id="wrong length"),
        pytest.param(disposition(NAME) + b"\r\nContent-Type: text/plain", id="text"),
        pytest.param(disposition(NAME) + b"\r\nX-Note: \xff", id="invalid bytes"),
        pytest.param(
            b"content-type: application/json\r\ncontent-disposition: form-data; name=image",
            id="lower case",
        ),
    ],
)
def test_a_photo_is_taken_whatever_the_headers_of_its_part(headers: bytes) -> None:
    # Larger than the limit of text fields.
    photo = encoded("BMP", (500, 400))
    assert read(parts((headers, photo))) == [photo]


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        ("fleur-d'été.jpg", "latin-1"),
        ("花.jpg", "gbk"),
        ("花.jpg", "shift_jis"),
        ("表", "shift_jis"),  # its last byte is a backslash, before the closing quote
        ("花.jpg", "utf-8"),
        ("花.jpg", "utf-16"),
    ],
)
def test_the_charset_of_a_file_name_does_not_matter(name: str, charset: str) -> None:
    headers = disposition(NAME, b'filename="%s"' % name.encode(charset))
    assert read(parts((headers + b"\r\nContent-Type: image/jpeg", PHOTO))) == [PHOTO]


def test_a_form_with_bare_line_feeds_is_taken() -> None:
    body = b"--%s\n%s\n\n%s\n--%s--\n" % (BOUNDARY, disposition(NAME), PHOTO, BOUNDARY)
    assert read(body) == [PHOTO]


@pytest.mark.parametrize("most", [1, 5])
@pytest.mark.parametrize("filename", [b'; filename=""', b""])
def test_an_empty_file_input_beside_a_photo_is_ignored(filename: bytes, most: int) -> None:
    empty = (disposition(NAME) + filename, b"")
    real = (disposition(NAME, b'filename="a.jpg"'), PHOTO)
    assert read(parts(empty, real), most=most) == [PHOTO]
    assert read(parts(real, empty), most=most) == [PHOTO]
    assert refused(parts(empty, empty), most=most).code == Code.EMPTY_PHOTO


def test_an_empty_file_beside_a_photo_is_refused() -> None:
    files = multipart(("image", "a.jpg", b""), ("image", "b.jpg", PHOTO))
    assert refused(files["data"], files["content_type"], most=2).code == Code.EMPTY_PHOTO


@pytest.mark.parametrize("text", [b"photo.jpg", b"/home/me/photo.jpg", b"x" * MIB, "花".encode()])
def test_text_instead_of_a_photo_is_refused(text: bytes) -> None:
    body = parts((disposition(NAME), text[: MIB - 500]))
    assert refused(body).code == Code.NO_PHOTO


@pytest.mark.parametrize(
    ("content_type", "fragment"),
    [
        ("multipart/form-data", "has no boundary"),
        ("multipart/form-data; boundary=", "has no boundary"),
        ("multipart/form-data; boundary=other", "does not contain the boundary"),
        ("multipart/form-data; boundary=\xfc", "has no boundary"),
    ],
)
def test_a_missing_or_wrong_boundary_is_named(content_type: str, fragment: str) -> None:
    problem = refused(parts((disposition(NAME), PHOTO)), content_type)
    assert problem.code == Code.BAD_REQUEST
    assert fragment in problem.detail


@pytest.mark.parametrize("body", [b"", b"\r\n", PHOTO, parts((disposition(NAME), PHOTO))[:-100]])
def test_an_empty_or_truncated_form_is_malformed(body: bytes) -> None:
    assert refused(body).code == Code.BAD_REQUEST


def test_a_form_without_fields_has_no_photo() -> None:
    assert refused(parts()).code == Code.NO_PHOTO


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, parts((disposition(NAME), PHOTO))),
        (JSON, json.dumps({"image": "AAAA" * 99}).encode()),
    ],
)
def test_a_form_shorter_than_its_content_length_is_incomplete(
    content_type: str, body: bytes
) -> None:
    # gunicorn ends the stream early without an error.
    problem = refused(body[:-100], content_type, CONTENT_LENGTH=str(len(body)))
    assert problem.code == Code.INCOMPLETE_BODY


def test_a_long_text_field_is_named() -> None:
    form = multipart(("title", None, b"x" * 600_000), ("image", "a.jpg", PHOTO))
    problem = refused(form["data"], form["content_type"])
    assert problem.code == Code.TOO_MANY_PARTS
    assert "'title'" in problem.detail


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "deflate, gzip", "x"])
def test_a_content_encoding_is_named(coding: str) -> None:
    problem = refused(PHOTO, "image/jpeg", HTTP_CONTENT_ENCODING=coding)
    assert problem.code == Code.UNSUPPORTED_ENCODING
    assert repr(coding) in problem.detail
    assert problem.headers == {"Accept-Encoding": "identity"}


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
def test_no_content_encoding_is_accepted(coding: str) -> None:
    assert read(PHOTO, "image/jpeg", HTTP_CONTENT_ENCODING=coding) == [PHOTO]


def in_base64(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def in_json(**members: Any) -> bytes:
    return json.dumps(members).encode()


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(in_base64, id="base64"),
        pytest.param(lambda photo: f"data:image/jpeg;base64,{in_base64(photo)}", id="data URL"),
        pytest.param(lambda photo: f"DATA:image/x;a=b;BASE64,{in_base64(photo)}", id="parameters"),
        pytest.param(lambda photo: base64.encodebytes(photo).decode(), id="lines"),
        pytest.param(lambda photo: base64.urlsafe_b64encode(photo).decode(), id="URL-safe"),
        pytest.param(lambda photo: in_base64(photo).rstrip("="), id="no padding"),
    ],
)
@pytest.mark.parametrize("rest", range(3))
def test_json_has_a_photo_in_base64(encode: Callable[[bytes], str], rest: int) -> None:
    photo = PHOTO + bytes(-len(PHOTO) % 3 + rest)
    assert read(in_json(image=encode(photo)), JSON) == [photo]
    two = in_json(image=[encode(photo), encode(PHOTO)])
    assert read(two, JSON, most=2) == [photo, PHOTO]


@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_may_have_another_unicode_encoding(charset: str) -> None:
    body = json.dumps({"image": in_base64(PHOTO)}).encode(charset)
    assert read(body, f"{JSON}; charset={charset}") == [PHOTO]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (in_json(), Code.NO_PHOTO),
        (in_json(photo="x"), Code.NO_PHOTO),
        (in_json(image=None), Code.NO_PHOTO),
        (in_json(image=5), Code.NO_PHOTO),
        (in_json(image={"data": "x"}), Code.NO_PHOTO),
        (in_json(image=[]), Code.NO_PHOTO),
        (in_json(image=[None]), Code.NO_PHOTO),
        (in_json(image="x"), Code.NO_PHOTO),
        (in_json(image="https://example.org/photo.jpg"), Code.NO_PHOTO),
        (in_json(image="data:image/jpeg,x"), Code.NO_PHOTO),
        (in_json(image="/9j/4AAQA"), Code.NO_PHOTO),
        (in_json(image="/9j/\ud800"), Code.NO_PHOTO),
        (in_json(image=""), Code.EMPTY_PHOTO),
        (in_json(image="data:image/jpeg;base64,"), Code.EMPTY_PHOTO),
        (in_json(image=["/9j/", ""]), Code.TOO_MANY_PHOTOS),
        (b'{"image": "/9j/", "image": "/9j/"}', Code.TOO_MANY_PHOTOS),
        (b"", Code.BAD_REQUEST),
        (b"{", Code.BAD_REQUEST),
        (b"{'image': 'x'}", Code.BAD_REQUEST),
        (b'{"image": "\xff"}', Code.BAD_REQUEST),
        (b'{"top_k": %s}' % (b"9" * 5000), Code.BAD_REQUEST),
        (PHOTO, Code.BAD_REQUEST),
        (b"[" * 60, Code.BAD_REQUEST),
        (b"null", Code.NO_PHOTO),
        (b'"/9j/4AAQ"', Code.NO_PHOTO),
        (b'[{"image": "/9j/4AAQ"}]', Code.NO_PHOTO),
        (b"[" * 100_000, Code.INVALID_PARAMETER),
        (b"[" + b"[]," * 100_000 + b"[]]", Code.INVALID_PARAMETER),
        (b'{"a": 1, "b": [' + b"1, " * 100_000, Code.INVALID_PARAMETER),
        (b'{"a": [' + b'{"b": "x"}, ' * 100, Code.INVALID_PARAMETER),
        (("[" * 100_000).encode("utf-16"), Code.INVALID_PARAMETER),
        (b'{"image": "%s"}' % (b"," * 100_000), Code.NO_PHOTO),
        (b'{"image": "%s"}' % (b'\\",' * 100_000), Code.NO_PHOTO),
        (b'{"image": "%s"}' % (b"," * 100_000 + b"\\\\"), Code.NO_PHOTO),
        # Separators in what is not JSON.
        (b'{"image": "%s' % (b"," * 100_000), Code.BAD_REQUEST),
        (b'{"image": "%s' % (b'\\",' * 300_000), Code.BAD_REQUEST),
        (b'""' * 300_000 + b"," * 100, Code.BAD_REQUEST),
        (b"1" + b",1" * 100, Code.BAD_REQUEST),
        (b"{'image': [" + b"1, " * 100, Code.BAD_REQUEST),
        (b"image=" + b",[{" * 100, Code.BAD_REQUEST),
        (b"[1]" + b",[" * 100, Code.BAD_REQUEST),
        (b'{"a" "b"' + b",1" * 100, Code.BAD_REQUEST),
    ],
)
def test_json_without_a_photo_is_refused(body: bytes, code: Code) -> None:
    assert refused(body, JSON).code == code


@pytest.mark.parametrize(
    ("body", "fragment"),
    [
        pytest.param(encoded(size=(400, 400)), "JPEG", id="photo"),
        pytest.param(encoded("PNG", (400, 400)), "PNG", id="PNG"),
        pytest.param(b"%PDF-1.7" + b"[," * 100, "PDF", id="document"),
        pytest.param(parts((disposition(NAME), encoded(size=(400, 400)))), FORM[:19], id="form"),
        pytest.param(parts((disposition(NAME), b"[,{" * 100)), FORM[:19], id="form of text"),
        pytest.param(gzip.compress(in_json(image=in_base64(PHOTO))), "gzip", id="gzip"),
    ],
)
def test_a_body_of_another_kind_than_its_json_content_type_is_named(
    body: bytes, fragment: str
) -> None:
    problem = refused(body, JSON)
    assert problem.code == Code.BAD_REQUEST
    cause = problem.detail.removesuffix(HOW_TO_SEND)
    assert cause != problem.detail
    assert fragment in cause


def code_of(response: TestResponse) -> str:
    problem = response.get_json()
    assert response.content_type == "application/problem+json"
    assert response.status_code == problem["status"]
    return str(problem["code"])


def send(client: FlaskClient, query: str = "", **members: Any) -> TestResponse:
    return client.post(f"/v1/predict{query}", json=members)


def test_json_gets_the_same_result_as_a_form(client: FlaskClient) -> None:
    image = in_base64(PHOTO)
    expected = client.post("/v1/predict", **multipart(("image", "a.jpg", PHOTO))).get_json()
    assert send(client, image=image).get_json()["predictions"] == expected["predictions"]
    explained = send(client, image=image, top_k=2, explain=True).get_json()["predictions"]
    assert len(explained) == 2
    assert "activation_map" in explained[0]
    photos = [image, in_base64(encoded(seed=1))]
    assert len(send(client, image=photos, combine=True).get_json()["photos"]) == 2


def test_invalid_json_members_are_refused(client: FlaskClient) -> None:
    image = in_base64(PHOTO)
    invalid: list[dict[str, Any]] = [
        {"topk": 1},
        {"title": "my garden"},
        {"\ud800": "\udfff"},
        {"x" * 100_000: "ü" * 100_000},
        {"top_k": "1"},
        {"top_k": 1.0},
        {"top_k": True},
        {"top_k": 0},
        {"explain": None},
        {"explain": [True]},
        {"explain": "true"},
    ]
    for members in invalid:
        assert code_of(send(client, image=image, **members)) == Code.INVALID_PARAMETER
    assert code_of(send(client, "?top_k=1", image=image, top_k=1)) == Code.INVALID_PARAMETER
    six = send(client, image=[image] * 6, combine=True)
    assert code_of(six) == Code.TOO_MANY_PHOTOS


def test_json_has_the_limits_of_a_form(make_app: MakeApp) -> None:
    client = make_app(max_body_mib=1, rate_limits=("5/day",)).test_client()
    assert code_of(send(client, image="A" * MIB)) == Code.TOO_LARGE
    response = client.post(
        "/v1/predict",
        input_stream=io.BytesIO(in_json(image="A" * MIB)),
        headers={"Transfer-Encoding": "chunked"},
        content_type=JSON,
        # As with gunicorn, the stream ends after the body.
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert code_of(response) == Code.TOO_LARGE
    # Two requests are counted so far.
    photos = [in_base64(PHOTO)] * 3
    assert send(client, image=photos, combine=True).status_code == 200
    assert code_of(send(client, image=in_base64(PHOTO))) == Code.RATE_LIMITED


def test_the_page_takes_a_photo_without_a_file_name(client: FlaskClient) -> None:
    body = parts((disposition(NAME), PHOTO))
    assert client.post("/", data=body, content_type=FORM).status_code == 200


@pytest.mark.parametrize("after_line_break", [False, True])
@pytest.mark.parametrize("boundary", [b"b", b"-", b"--", b"a-a", b"boundary"])
def test_boundaries_are_found_where_werkzeugs_patterns_find_them(
    boundary: bytes, after_line_break: bool
) -> None:
    decoder = MultipartDecoder(boundary)
    expected = decoder.boundary_re if after_line_break else decoder.preamble_re
    pattern = BoundaryPattern(boundary, after_line_break=after_line_break)
    pieces = [b"\r", b"\n", b"\r\n", b"-", b"--", b" ", b"\t", b"a", boundary, b"--" + boundary]
    rng = random.Random(0)
    matches = 0
    for _ in range(2000):
        data = b"".join(rng.choices(pieces, k=rng.randint(0, 12)))
        start = rng.randint(0, len(data)) if rng.random() < 0.3 else 0
        want, got = expected.search(data, start), pattern.search(data, start)
        assert (got is None) == (want is None), data
        if want and got:
            assert (got.start(), got.end(), got.group(1)) == (*want.span(), want[1]), data
            matches += 1
    assert matches > 100
