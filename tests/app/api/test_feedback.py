"""Feedback routes of the API: what is stored, and what is refused without storing anything."""

from __future__ import annotations

import base64
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image, ImageCms
from werkzeug.test import TestResponse

from app.feedback.entry import FeedbackEntry, FeedbackUnavailableError, Receipt
from app.feedback.store import FeedbackStore
from tests.app.conftest import MakeApp, encoded, form, multipart
from tests.conftest import flower_image
from tests.model.imaging.test_heif import heic

FIELDS = {"request_id": "0f5a3c1e", "correction": "21", "predicted": "10"}
MISSING_CODE = "0" * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
def app(make_app: MakeApp, folder: Path) -> Flask:
    return make_app(feedback_dir=folder)


def stored_photos(folder: Path) -> list[Path]:
    return list((folder / "photos").iterdir())


def body(photo: bytes | None = None, **fields: str) -> dict[str, Any]:
    """Build a form with valid fields, a photo with consent, and other fields."""
    consent = {} if photo is None else {"consent": "true"}
    texts = {**FIELDS, **consent, **fields}
    parts: list[tuple[str, str | None, bytes]] = [
        (name, None, text.encode()) for name, text in texts.items()
    ]
    if photo is not None:
        parts.append(("image", "photo.jpg", photo))
    return multipart(*parts)


def problem(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["code"]


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_correction_and_its_photo_are_stored_and_deleted(
    client: FlaskClient, folder: Path, photo: bytes, prefix: str
) -> None:
    response = client.post(f"{prefix}/feedback", **body(photo))
    assert response.status_code == 200
    assert response.get_json()["has_photo"]
    assert len(stored_photos(folder)) == 1
    code = response.get_json()["deletion_code"]
    deleted = client.delete(f"{prefix}/feedback/{code}")
    assert (deleted.status_code, deleted.data) == (204, b"")
    assert stored_photos(folder) == []
    assert problem(client.delete(f"/feedback/{code}")) == (404, "feedback_not_found")


def test_json_is_accepted(client: FlaskClient, folder: Path, photo: bytes) -> None:
    image = base64.b64encode(photo).decode()
    response = client.post("/feedback", json={**FIELDS, "image": image, "consent": True})
    assert response.get_json()["has_photo"]
    assert len(stored_photos(folder)) == 1
    response = client.post("/feedback", json={**FIELDS, "predicted": None, "consent": False})
    assert response.get_json()["has_photo"] is False


def test_a_json_member_of_null_is_absent(client: FlaskClient, photo: bytes) -> None:
    members = {**FIELDS, "predicted": None, "image": None, "consent": None}
    response = client.post("/feedback", json=members)
    assert response.status_code == 200
    assert response.get_json()["has_photo"] is False
    image = base64.b64encode(photo).decode()
    response = client.post("/feedback", json={**members, "image": image})
    assert problem(response) == (422, "consent_missing")
    for required in ("request_id", "correction"):
        response = client.post("/feedback", json={**members, required: None})
        assert problem(response) == (422, "invalid_parameter")


@pytest.mark.parametrize("name", ["consnet", "Consent", "note", "top_k", "", "x" * 100_000])
@pytest.mark.parametrize("value", [None, "x", 1])
def test_an_unknown_json_member_is_refused(client: FlaskClient, name: str, value: object) -> None:
    response = client.post("/feedback", json={**FIELDS, name: value})
    assert problem(response) == (422, "invalid_parameter")
    assert len(response.get_json()["detail"]) < 500


def test_an_unknown_form_field_is_ignored(client: FlaskClient) -> None:
    assert client.post("/feedback", **body(note="x")).status_code == 200


@pytest.mark.parametrize("correction", ["21", "right", "other", "unsure"])
def test_each_correction_is_accepted_without_a_photo(client: FlaskClient, correction: str) -> None:
    response = client.post("/feedback", **body(correction=correction))
    assert response.status_code == 200
    assert not response.get_json()["has_photo"]


def test_a_file_field_without_a_file_is_no_photo(client: FlaskClient) -> None:
    parts = [(name, None, text.encode()) for name, text in FIELDS.items()]
    for consent in (b"", b"true"):
        response = client.post(
            "/feedback", **multipart(*parts, ("consent", None, consent), ("image", "", b""))
        )
        assert response.status_code == 200
        assert not response.get_json()["has_photo"]


def test_the_same_feedback_is_stored_once(client: FlaskClient, folder: Path, photo: bytes) -> None:
    codes = {client.post("/feedback", **body(photo)).get_json()["deletion_code"] for _ in range(3)}
    assert len(codes) == 1
    assert len(stored_photos(folder)) == 1


def test_a_stored_photo_has_no_metadata_and_is_upright(client: FlaskClient, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    exif[0x010F] = "secret camera"
    exif.get_ifd(0x8825)[2] = (47.0, 22.0, 1.0)  # latitude
    file = io.BytesIO()
    flower_image((400, 300)).save(
        file,
        "JPEG",
        exif=exif,
        comment=b"secret comment",
        xmp=b"<x:xmpmeta>secret place</x:xmpmeta>",
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        dpi=(123, 123),
    )
    client.post("/feedback", **body(file.getvalue() + b"secret trailer"))
    (path,) = stored_photos(folder)
    assert b"secret" not in path.read_bytes()
    with Image.open(path) as image:
        assert image.size == (300, 400)
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert not image.getexif()


@pytest.mark.parametrize(("heif", "status"), [(True, 200), (False, 415)])
def test_a_heic_photo_is_stored_if_the_setting_is_on(
    make_app: MakeApp, folder: Path, heif: bool, status: int
) -> None:
    client = make_app(feedback_dir=folder, heif=heif).test_client()
    assert client.post("/feedback", **body(heic())).status_code == status
    assert len(stored_photos(folder)) == heif


def test_a_stored_photo_is_reduced(client: FlaskClient, folder: Path) -> None:
    client.post("/feedback", **body(encoded(size=(2400, 1600))))
    (path,) = stored_photos(folder)
    with Image.open(path) as image:
        assert max(image.size) == 800


@pytest.mark.parametrize("consent", [None, "", "false", "0"])
def test_a_photo_needs_consent(
    client: FlaskClient, folder: Path, photo: bytes, consent: str | None
) -> None:
    parts = [(name, None, text.encode()) for name, text in FIELDS.items()]
    if consent is not None:
        parts.append(("consent", None, consent.encode()))
    response = client.post("/feedback", **multipart(*parts, ("image", "photo.jpg", photo)))
    assert problem(response) == (422, "consent_missing")
    assert stored_photos(folder) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"request_id": ""},
        {"request_id": "x" * 65},
        {"request_id": "../../etc/passwd"},
        {"request_id": "a b"},
        {"request_id": "ä"},
        {"request_id": "\0"},
        {"correction": ""},
        {"correction": "999"},
        {"correction": "RIGHT"},
        {"correction": "../21"},
        {"correction": "21/../../x"},
        {"correction": "2" * 100_000},
        {"correction": "\udcff".encode(errors="surrogateescape").decode("latin-1")},
        {"predicted": "right"},
        {"predicted": "999"},
        {"correction": "right", "predicted": ""},
        {"consent": "yes"},
        {"consent": "truetrue"},
    ],
)
def test_an_invalid_field_is_refused(
    client: FlaskClient, folder: Path, photo: bytes, fields: dict[str, str]
) -> None:
    response = client.post("/feedback", **body(photo, **fields))
    assert problem(response) == (422, "invalid_parameter")
    assert len(response.get_json()["detail"]) < 500
    assert stored_photos(folder) == []


@pytest.mark.parametrize("name", ["request_id", "correction", "predicted", "consent"])
def test_a_repeated_field_is_refused(client: FlaskClient, photo: bytes, name: str) -> None:
    parts: list[tuple[str, str | None, bytes]] = [
        (key, None, text.encode()) for key, text in {**FIELDS, "consent": "true"}.items()
    ]
    repeated = next(part for part in parts if part[0] == name)
    response = client.post("/feedback", **multipart(*parts, repeated, ("image", "p.jpg", photo)))
    assert problem(response) == (422, "invalid_parameter")


@pytest.mark.parametrize(
    "value", [["21"], {"class_id": "21"}, 21.5, True, "\ud800", ["right", "other"], [[[[[]]]]]]
)
def test_json_of_another_type_is_refused(client: FlaskClient, value: object) -> None:
    response = client.post("/feedback", json={**FIELDS, "correction": value})
    assert problem(response) == (422, "invalid_parameter")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (body(b"%PDF-1.7 words"), (415, "unsupported_format")),
        (body(b"\xff\xd8\xff" + bytes(100)), (422, "damaged_photo")),
        (body(encoded(size=(8, 8))), (422, "too_small")),
        (body(encoded(size=(16, 4000))), (422, "too_small")),  # 3 pixels after the reduction
        (body(encoded("PNG", (1100, 1100))), (413, "too_many_pixels")),
        (body(bytes(2**20)), (413, "too_large")),
        ({"data": encoded(), "content_type": "image/jpeg"}, (415, "unsupported_type")),
        ({"data": "a=b", "content_type": "text/plain"}, (415, "unsupported_type")),
        ({"data": b""}, (415, "unsupported_type")),
        ({"data": b"", "content_type": "multipart/form-data"}, (422, "invalid_parameter")),
        ({"data": b"--x", "content_type": "multipart/form-data; boundary=x"}, (400, "bad_request")),
        ({"data": b"{", "content_type": "application/json"}, (400, "bad_request")),
        (
            multipart(*[(f"field{number}", None, b"") for number in range(50)]),
            (413, "too_many_parts"),
        ),
        (multipart(("request_id", None, bytes(200_000))), (413, "too_many_parts")),
        (
            multipart(*[("image", "photo.png", encoded("PNG", (20, 20)))] * 2),
            (422, "too_many_photos"),
        ),
    ],
)
def test_a_bad_body_is_refused(
    make_app: MakeApp, folder: Path, arguments: dict[str, Any], expected: tuple[int, str]
) -> None:
    client = make_app(feedback_dir=folder, max_body_mib=1, max_megapixels=1).test_client()
    assert problem(client.post("/feedback", **arguments)) == expected
    assert stored_photos(folder) == []


@pytest.mark.parametrize(
    "code", [MISSING_CODE, "x", "..", "%2e%2e%2fphotos", "%00", "'; DROP TABLE x; --", "0" * 5000]
)
def test_an_unknown_code_deletes_nothing(
    client: FlaskClient, folder: Path, photo: bytes, code: str
) -> None:
    client.post("/feedback", **body(photo))
    assert client.delete(f"/feedback/{code}").status_code in (404, 405)
    assert len(stored_photos(folder)) == 1


def test_a_code_may_be_typed_in_capitals(client: FlaskClient) -> None:
    code = client.post("/feedback", **body()).get_json()["deletion_code"]
    assert client.delete(f"/feedback/{code.upper()}%20").status_code == 204


def test_pages_of_other_sites_may_not_delete_or_send(client: FlaskClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://other.example"}
    code = client.post("/feedback", **body()).get_json()["deletion_code"]
    for response in (
        client.post("/feedback", **body(), headers=headers),
        client.delete(f"/feedback/{code}", headers=headers),
        client.post("/your-feedback", **body(), headers={**headers, "Accept": "application/json"}),
    ):
        assert response.status_code == 403
    assert client.delete(f"/feedback/{code}").status_code == 204


def test_pages_of_allowed_origins_may_delete(make_app: MakeApp, folder: Path) -> None:
    client = make_app(feedback_dir=folder, cors_origins=("https://a.example",)).test_client()
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "DELETE"}
    preflight = client.options(f"/feedback/{MISSING_CODE}", headers=headers)
    assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]


def test_feedback_counts_against_the_rate_limit(
    make_app: MakeApp, folder: Path, photo: bytes
) -> None:
    client = make_app(feedback_dir=folder, rate_limits=("2/day",)).test_client()
    assert client.post("/predict", **form(photo)).status_code == 200
    assert client.post("/feedback", **body()).status_code == 200
    response = client.post("/feedback", **body(photo))
    assert problem(response) == (429, "rate_limited")
    assert int(response.headers["Retry-After"]) > 0
    assert client.delete(f"/feedback/{MISSING_CODE}").status_code == 404


def test_feedback_needs_a_key(make_app: MakeApp, folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef")
    client = make_app(feedback_dir=folder, api_keys_file=keys).test_client()
    assert problem(client.post("/feedback", **body())) == (401, "api_key_missing")
    assert problem(client.delete(f"/feedback/{MISSING_CODE}")) == (401, "api_key_missing")
    headers = {"X-API-Key": "0123456789abcdef"}
    assert client.post("/feedback", **body(), headers=headers).status_code == 200


def test_a_full_store_refuses_feedback_and_still_classifies(
    make_app: MakeApp, folder: Path
) -> None:
    def noise(seed: int) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (800, 800, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=95)
        return file.getvalue()

    client = make_app(feedback_dir=folder, feedback_quota_mib=1).test_client()
    code = client.post("/feedback", **body(noise(0))).get_json()["deletion_code"]
    assert problem(client.post("/feedback", **body(noise(1)))) == (507, "feedback_full")
    assert len(stored_photos(folder)) == 1
    assert client.post("/predict", **form(noise(1))).status_code == 200
    assert client.delete(f"/feedback/{code}").status_code == 204
    assert client.post("/feedback", **body(noise(1))).status_code == 200


def test_a_failed_store_gives_a_problem_without_its_cause(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Receipt:
        raise FeedbackUnavailableError("password=secret") from OSError("/secret/path")

    monkeypatch.setattr(FeedbackStore, "add", broken)
    monkeypatch.setattr(FeedbackStore, "delete", broken)
    for response in (
        client.post("/feedback", **body()),
        client.delete(f"/feedback/{MISSING_CODE}"),
    ):
        assert problem(response) == (503, "feedback_unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert "secret" not in response.text


def test_a_slow_store_occupies_two_threads_at_most(
    app: Flask, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, release = threading.Semaphore(0), threading.Event()

    def slow(self: FeedbackStore, entry: FeedbackEntry) -> Receipt:
        started.release()
        assert release.wait(60)
        return Receipt(MISSING_CODE, has_photo=False)

    monkeypatch.setattr(FeedbackStore, "add", slow)
    with ThreadPoolExecutor(2) as threads:
        try:
            waiting = [
                threads.submit(lambda: app.test_client().post("/feedback", **body()))
                for _ in range(2)
            ]
            for _ in waiting:
                assert started.acquire(timeout=60)
            refused = app.test_client().post("/feedback", **body())
            assert problem(refused) == (429, "overloaded")
            assert app.test_client().post("/predict", **form(photo)).status_code == 200
        finally:
            release.set()
        assert [item.result().status_code for item in waiting] == [200, 200]
    assert app.test_client().post("/feedback", **body()).status_code == 200


@pytest.mark.slow
def test_concurrent_requests_are_all_stored(app: Flask, folder: Path) -> None:
    def send(number: int) -> int:
        photo = encoded(seed=number)
        while True:
            response = app.test_client().post(
                "/feedback", **body(photo, request_id=f"request-{number}")
            )
            if response.status_code != 429:
                return response.status_code

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(send, range(8))) == {200}
    assert len(stored_photos(folder)) == 8


def test_a_service_without_feedback_has_no_routes(make_app: MakeApp, photo: bytes) -> None:
    client = make_app().test_client()
    assert problem(client.post("/feedback", **body(photo))) == (404, "not_found")
    assert problem(client.delete(f"/v1/feedback/{MISSING_CODE}")) == (404, "not_found")
    assert client.get("/your-feedback").status_code == 404
    index = client.get("/", headers={"Accept": "application/json"}).get_json()
    assert "feedback" not in index["links"]
    assert "/feedback" not in client.get("/openapi.json").get_json()["paths"]


def test_the_index_links_to_feedback(client: FlaskClient) -> None:
    links = client.get("/", headers={"Accept": "application/json"}).get_json()["links"]
    assert links["feedback"] == "/feedback"
