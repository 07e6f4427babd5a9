"""Feedback without JavaScript: the form below a result, and the page that deletes it."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.web.translations import message_catalogs
from tests.app.conftest import MakeApp, form, multipart
from tests.app.web.conftest import message

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
CODE = re.compile(r"<code>([0-9a-f]{20})</code>")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
def client(make_app: MakeApp, folder: Path) -> FlaskClient:
    return make_app(feedback_dir=folder).test_client()


def hidden_fields(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def test_the_form_is_below_a_result_only(client: FlaskClient, photo: bytes) -> None:
    assert 'action="/your-feedback"' not in client.get("/", headers=PAGE).text
    page = client.post("/", **form(photo), headers=PAGE)
    fields = hidden_fields(page.text)
    assert fields["request_id"] == page.headers["X-Request-ID"]
    best = client.post("/predict", **form(photo)).get_json()["predictions"][0]
    assert fields["predicted"] == best["class_id"]
    options = set(re.findall(r'<option value="([^"]+)"', page.text))
    assert options == {"1", "2", "5", "10", "21", "100", "right", "other", "unsure"} - {
        best["class_id"]
    }
    assert 'type="checkbox" name="consent"' in page.text
    assert not re.search(r'name="consent"[^>]* checked', page.text)


def test_feedback_is_sent_and_deleted_without_javascript(
    client: FlaskClient, folder: Path, photo: bytes
) -> None:
    fields = hidden_fields(client.post("/", **form(photo), headers=PAGE).text)
    texts = {**fields, "correction": "right", "consent": "true"}
    parts: list[tuple[str, str | None, bytes]] = [
        (name, None, text.encode()) for name, text in texts.items()
    ]
    sent = client.post(
        "/your-feedback", **multipart(*parts, ("image", "a.jpg", photo)), headers=PAGE
    )
    assert sent.status_code == 200
    assert message("feedback.stored_photo") in html.unescape(sent.text)
    (code,) = CODE.findall(sent.text)
    assert len(list((folder / "photos").iterdir())) == 1
    deletion = multipart(("code", None, f" {code} ".encode()))
    deleted = client.post("/your-feedback/delete", **deletion, headers=PAGE)
    assert message("feedback.deleted") in html.unescape(deleted.text)
    assert list((folder / "photos").iterdir()) == []
    again = client.post("/your-feedback/delete", **deletion, headers=PAGE)
    assert again.status_code == 404
    assert message("titles.feedback_not_found") in html.unescape(again.text)


@pytest.mark.parametrize("language", message_catalogs())
def test_a_missing_consent_is_explained(client: FlaskClient, photo: bytes, language: str) -> None:
    response = client.post(
        "/your-feedback",
        **multipart(
            ("request_id", None, b"1"), ("correction", None, b"other"), ("image", "a.jpg", photo)
        ),
        headers={**PAGE, "Accept-Language": language},
    )
    assert response.status_code == 422
    assert message("titles.consent_missing", language) in html.unescape(response.text)
    assert 'name="code"' not in response.text  # nothing was stored that could be deleted


def test_the_footer_tells_what_is_stored(client: FlaskClient, make_app: MakeApp) -> None:
    page = html.unescape(client.get("/", headers=PAGE).text)
    assert message("page.privacy_feedback") in page
    assert 'href="/your-feedback"' in page
    assert client.get("/your-feedback", headers=PAGE).status_code == 200
    off = html.unescape(make_app().test_client().get("/", headers=PAGE).text)
    assert message("page.privacy") in off
    assert "/your-feedback" not in off


def test_a_result_has_no_form_if_feedback_is_off(make_app: MakeApp, photo: bytes) -> None:
    page = make_app().test_client().post("/", **form(photo), headers=PAGE)
    assert 'name="correction"' not in page.text
