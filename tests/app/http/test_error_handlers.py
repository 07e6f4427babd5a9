"""Errors as problem documents and as pages."""

from __future__ import annotations

from typing import NoReturn

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.app.conftest import MakeApp, form

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/problem+json"])
def test_a_program_gets_problem_json(client: FlaskClient, accept: str | None) -> None:
    response = client.get("/nowhere", headers={"Accept": accept} if accept else {})
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
    problem = response.get_json()
    assert "/nowhere" in problem.pop("detail")
    assert problem == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "code": "not_found",
        "request_id": response.headers["X-Request-ID"],
    }
    assert response.headers["Cache-Control"] == "no-store"


def test_a_browser_gets_a_page(client: FlaskClient) -> None:
    response = client.get("/<script>alert(1)</script>", headers=BROWSER)
    assert response.status_code == 404
    assert response.content_type == "text/html; charset=utf-8"
    assert "&lt;script&gt;alert(1)" in response.text
    assert "<script>alert" not in response.text


def test_a_form_posted_to_the_api_by_a_browser_gets_a_page(client: FlaskClient) -> None:
    response = client.post("/predict", **form(b"words"), headers=BROWSER)
    assert response.status_code == 415
    assert response.content_type == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", {"OPTIONS", "POST"}),
        ("DELETE", "/predict", {"OPTIONS", "POST"}),
        ("PUT", "/", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("POST", "/labels", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_gets_405_and_the_allowed_methods(
    client: FlaskClient, method: str, path: str, allowed: set[str]
) -> None:
    response = client.open(path, method=method)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == allowed
    problem = response.get_json()
    assert problem["code"] == "method_not_allowed"
    assert method in problem["detail"]


def test_a_long_path_is_truncated_in_the_detail(client: FlaskClient) -> None:
    assert len(client.get("/" + "x" * 4000).get_json()["detail"]) < 200


@pytest.fixture
def broken_app(make_app: MakeApp) -> Flask:
    app = make_app()

    @app.route("/broken", methods=["GET", "POST"])
    def explode() -> NoReturn:
        raise RuntimeError("the password is swordfish, in /etc/secret")

    return app


@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_an_unhandled_exception_is_a_500_that_reveals_nothing(
    broken_app: Flask, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    response = broken_app.test_client().get("/broken", headers=headers)
    assert response.status_code == 500
    for word in ("swordfish", "secret", "RuntimeError", "Traceback", "explode"):
        assert word not in response.text
    assert response.headers["X-Request-ID"] in response.text
    assert "swordfish" in caplog.text


def test_the_service_works_after_an_unhandled_exception(broken_app: Flask, photo: bytes) -> None:
    client = broken_app.test_client()
    client.post("/broken", **form(photo))
    assert client.post("/predict", **form(photo)).status_code == 200
