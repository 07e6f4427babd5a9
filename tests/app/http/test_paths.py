"""Slashes at the end of paths, and HEAD."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.http.problems import Code
from tests.app.conftest import form


def test_a_slash_at_the_end_does_not_matter(client: FlaskClient, photo: bytes) -> None:
    for path in ("/predict", "/v1/predict"):
        expected = client.post(path, **form(photo)).get_json()["predictions"]
        response = client.post(f"{path}/?top_k=5", **form(photo))
        assert response.status_code == 200
        assert response.get_json()["predictions"] == expected
    for path in ("/labels", "/v1/model", "/flowers", "/flowers/21-fire-lily", "/healthz", "/docs"):
        response = client.get(f"{path}/")
        assert response.status_code == 200
        assert response.data == client.get(path).data
    response = client.get("/predict/")
    assert response.get_json()["code"] == Code.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("path", ["/predict//", "/v1//predict", "/v1/", "/static/", "/labels/x/"])
def test_other_slashes_lead_nowhere(client: FlaskClient, path: str) -> None:
    response = client.open(path, method="POST" if "predict" in path else "GET")
    assert response.get_json()["code"] == Code.NOT_FOUND


def test_head_has_the_headers_of_get(app: Flask, client: FlaskClient) -> None:
    paths = {
        re.sub(r"<\w+>", "21-fire-lily", rule.rule).replace("<path:filename>", "page.js")
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or set())
    }
    assert len(paths) > 15
    for path in (*sorted(paths), "/nowhere"):
        for accept in ("application/json", "text/html"):
            headers = {"Accept": accept, "X-Request-ID": "1"}
            with (
                client.get(path, headers=headers) as got,
                client.head(path, headers=headers) as head,
            ):
                assert head.status_code == got.status_code
                assert dict(head.headers) == dict(got.headers)
                assert got.data
                assert not head.data


def test_a_route_without_get_refuses_head(client: FlaskClient) -> None:
    response = client.head("/predict")
    assert response.status_code == 405
    assert response.headers["Allow"] == "OPTIONS, POST"
