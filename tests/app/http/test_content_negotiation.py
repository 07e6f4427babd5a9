"""Choice between the page and JSON."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient


def test_a_client_that_prefers_json_gets_the_list_of_routes(client: FlaskClient) -> None:
    headers = {"Accept": "application/json"}
    about = client.get("/", headers=headers, environ_overrides={"SCRIPT_NAME": "/mine"}).get_json()
    assert about["name"] == "Petalscope"
    for path in about["links"].values():
        assert path.startswith("/mine/")
        allowed = client.options(path.removeprefix("/mine")).headers["Allow"]
        assert "GET" in allowed or "POST" in allowed


@pytest.mark.parametrize("accept", [None, "*/*", "text/html", "text/html,application/json"])
def test_all_other_clients_get_the_page(client: FlaskClient, accept: str | None) -> None:
    response = client.get("/", headers={"Accept": accept} if accept else {})
    assert response.mimetype == "text/html"
    assert "Accept" in response.vary
