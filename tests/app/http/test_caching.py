"""Cache policies, ETags and HEAD."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, url_for
from flask.testing import FlaskClient

from tests.app.conftest import MakeApp, form

BROWSER = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
CACHEABLE = [
    ("/", JSON),
    ("/labels", {}),
    ("/model", {}),
    ("/flowers", {}),
    ("/flowers", BROWSER),
    ("/flowers?q=lily", {}),
    ("/flowers/21-fire-lily", {}),
    ("/openapi.json", {}),
    ("/docs", BROWSER),
    ("/about/model", BROWSER),
    ("/style.css", {}),
    ("/static/page.js", {}),
    ("/static/icon.svg", {}),
]


def paths_of_get_routes(app: Flask) -> Iterator[str]:
    values: dict[str, Any] = {"slug": "21-fire-lily", "filename": "page.js"}
    for rule in app.url_map.iter_rules():
        # Pictures need a folder, and only the bundled model has a card.
        if rule.endpoint == "pages.model_card" or "file" in rule.arguments:
            continue
        if "GET" in (rule.methods or ()):
            with app.test_request_context():
                yield url_for(rule.endpoint, **{name: values[name] for name in rule.arguments})


@pytest.mark.parametrize(("path", "accept"), CACHEABLE)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_unchanged_response_is_not_sent_again(
    client: FlaskClient, path: str, accept: dict[str, str], encoding: str
) -> None:
    headers = {**accept, "Accept-Encoding": encoding}
    first = client.get(path, headers=headers, buffered=True)
    assert first.cache_control.no_cache
    etag = first.headers["ETag"]
    again = client.get(path, headers={**headers, "If-None-Match": etag}, buffered=True)
    assert again.status_code == 304
    assert again.headers["ETag"] == etag
    assert not again.data
    assert "Content-Encoding" not in again.headers
    assert again.vary.as_set() == first.vary.as_set()
    other = client.get(
        path, headers={**headers, "If-None-Match": '"of another model"'}, buffered=True
    )
    assert (other.status_code, other.headers["ETag"]) == (200, etag)


@pytest.mark.parametrize(
    ("path", "accept"), [*CACHEABLE, ("/", BROWSER), ("/healthz", {}), ("/readyz", {})]
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_head_has_the_headers_of_get(
    client: FlaskClient, path: str, accept: dict[str, str], encoding: str
) -> None:
    headers = {**accept, "Accept-Encoding": encoding, "X-Request-ID": "one"}
    got = client.get(path, headers=headers, buffered=True)
    head = client.head(path, headers=headers, buffered=True)
    assert not head.data
    get_headers, head_headers = (
        {name: value for name, value in response.headers if name != "Date"}
        for response in (got, head)
    )
    assert get_headers == head_headers
    assert int(got.headers["Content-Length"]) == len(got.data)


def test_every_get_route_accepts_head(app: Flask) -> None:
    client = app.test_client()
    paths = list(paths_of_get_routes(app))
    assert len(paths) > 8
    for path in paths:
        assert client.head(path, buffered=True).status_code in (200, 302), path


@pytest.mark.slow
@pytest.mark.parametrize("accept", [BROWSER, JSON])
def test_every_response_has_a_cache_policy(app: Flask, accept: dict[str, str]) -> None:
    client = app.test_client()
    for path in [*paths_of_get_routes(app), "/nowhere"]:
        response = client.get(path, headers=accept, buffered=True)
        policy = response.cache_control
        assert policy.no_cache or policy.no_store, path


def test_a_shared_cache_does_not_store_the_page(client: FlaskClient) -> None:
    response = client.get("/", headers=BROWSER)
    assert response.cache_control.private
    assert not response.cache_control.public
    assert {"accept", "accept-language", "cookie"} <= response.vary.as_set()


@pytest.mark.slow
@pytest.mark.parametrize("header", ["Accept", "Accept-Language", "Cookie", "X-Forwarded-Prefix"])
def test_vary_names_each_header_that_changes_a_shared_response(
    make_app: MakeApp, header: str
) -> None:
    values = {
        "Accept": ("text/html", "application/json"),
        "Accept-Language": ("en", "de"),
        "Cookie": ("language=en", "language=de"),
        "X-Forwarded-Prefix": ("/a", "/b"),
    }
    app = make_app(proxy_count=1)
    client = app.test_client(use_cookies=False)  # the header sets them
    for path in paths_of_get_routes(app):
        one, two = (
            client.get(path, headers={**BROWSER, header: value}, buffered=True)
            for value in values[header]
        )
        if one.data != two.data and not one.cache_control.private:
            assert header.lower() in one.vary.as_set(), path


def test_vary_is_complete(make_app: MakeApp) -> None:
    client = make_app(cors_origins=("https://friend.example",)).test_client()
    response = client.get("/flowers", headers={"Accept-Encoding": "gzip"})
    assert {"accept", "accept-encoding", "origin"} <= response.vary.as_set()


@pytest.mark.parametrize("path", ["/", "/predict"])
def test_results_and_errors_are_not_stored(client: FlaskClient, path: str, photo: bytes) -> None:
    assert client.post(path, **form(photo)).headers["Cache-Control"] == "no-store"
    assert client.post(path, **form(b"words")).headers["Cache-Control"] == "no-store"
