"""Versioned paths."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.app.conftest import MakeApp, form


@pytest.mark.parametrize(
    "path", ["/labels", "/model", "/flowers", "/flowers/21-fire-lily", "/healthz", "/readyz"]
)
def test_a_versioned_path_returns_the_same_as_the_plain_path(
    client: FlaskClient, path: str
) -> None:
    accept = {"Accept": "application/json"}
    versioned = client.get("/v1" + path, headers=accept).text
    # Links stay in the version that the request used.
    assert versioned.replace("/v1/flowers", "/flowers") == client.get(path, headers=accept).text


def test_a_versioned_predict_links_to_versioned_flowers(client: FlaskClient, photo: bytes) -> None:
    plain, versioned = (
        client.post(path, **form(photo)).get_json()["predictions"]
        for path in ("/predict", "/v1/predict?top_k=5")
    )
    assert [item["class_id"] for item in plain] == [item["class_id"] for item in versioned]
    assert all(item["url"].startswith("/v1/flowers/") for item in versioned)
    assert all(item["url"].startswith("/flowers/") for item in plain)


def test_versioned_paths_share_limits_and_cross_site_protection(
    make_app: MakeApp, photo: bytes
) -> None:
    client = make_app(rate_limits=("2/day",)).test_client()
    paths = ("/predict", "/v1/predict", "/v1/predict", "/predict")
    assert [client.post(path, **form(photo)).status_code for path in paths] == [200, 200, 429, 429]
    other_site = {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/v1/predict", **form(photo), headers=other_site).status_code == 403


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/nowhere", "/v1/v1/labels", "/v12/labels", "/v2/labels", "/v1labels"],
)
def test_other_prefixes_are_not_versions(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.get_json()["code"] == "not_found"
