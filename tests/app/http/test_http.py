"""What HTTP lets clients and caches count on: HEAD, ETags, 304, Vary, and answers made smaller."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from flask import Flask, url_for
from flask.testing import FlaskClient

from tests.app.conftest import MakeApp, form

BROWSER = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
# Each that may be kept, and the Accept of one who asks for it.
KEPT = [
    ("/", JSON),
    ("/labels", {}),
    ("/model", {}),
    ("/flowers", {}),
    ("/flowers", BROWSER),
    ("/flowers?q=lily", {}),
    ("/flowers/21-fire-lily", {}),
    ("/openapi.json", {}),
    ("/docs", BROWSER),
    ("/static/style.css", {}),
    ("/static/icon.svg", {}),
]


@pytest.mark.parametrize(("path", "accept"), KEPT)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_has_not_changed_is_not_sent_again(
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
    ("path", "accept"), [*KEPT, ("/", BROWSER), ("/healthz", {}), ("/readyz", {})]
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_head_tells_what_get_would(
    client: FlaskClient, path: str, accept: dict[str, str], encoding: str
) -> None:
    headers = {**accept, "Accept-Encoding": encoding, "X-Request-ID": "one"}
    got = client.get(path, headers=headers, buffered=True)
    head = client.head(path, headers=headers, buffered=True)
    assert not head.data
    told = [
        {name: value for name, value in response.headers if name != "Date"}
        for response in (got, head)
    ]
    assert told[0] == told[1]
    assert int(got.headers["Content-Length"]) == len(got.data)


def test_each_route_that_is_got_takes_head(app: Flask) -> None:
    values: dict[str, Any] = {"slug": "21-fire-lily", "filename": "style.css"}
    client = app.test_client()
    tried = 0
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()):
            with app.test_request_context():
                path = url_for(rule.endpoint, **{name: values[name] for name in rule.arguments})
            assert client.head(path, buffered=True).status_code == 200, path
            tried += 1
    assert tried > 8


@pytest.mark.parametrize(("path", "accept"), [*KEPT, ("/", BROWSER)])
def test_a_client_that_takes_gzip_gets_the_same_in_fewer_bytes(
    client: FlaskClient, path: str, accept: dict[str, str]
) -> None:
    plain, small = (
        client.get(path, headers={**accept, "Accept-Encoding": encoding}, buffered=True)
        for encoding in ("identity", "gzip")
    )
    for response in (plain, small):
        assert "Accept-Encoding" in response.vary
    assert "Content-Encoding" not in plain.headers
    if len(plain.data) < 500:
        assert small.data == plain.data
        return
    assert small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.data) == plain.data
    assert len(small.data) < 0.6 * len(plain.data)
    # Different bytes must not have one strong ETag.
    if "ETag" in plain.headers:
        assert plain.headers["ETag"] != small.headers["ETag"]


def test_a_part_of_a_file_is_of_the_file_as_it_is(client: FlaskClient) -> None:
    whole = client.get("/static/style.css", buffered=True).data
    headers = {"Range": "bytes=1000-1999", "Accept-Encoding": "gzip"}
    part = client.get("/static/style.css", headers=headers, buffered=True)
    assert part.status_code == 206
    assert "Content-Encoding" not in part.headers
    assert part.data == whole[1000:2000]
    headers["Range"] = "bytes=9999999-"
    assert (
        client.get("/static/style.css", headers=headers, buffered=True).get_json()["code"]
        == "range_not_satisfiable"
    )


def test_an_answer_about_a_photo_is_smaller_and_not_kept(client: FlaskClient, photo: bytes) -> None:
    path = "/predict?explain=1"
    plain = client.post(path, **form(photo), headers={"X-Request-ID": "one"})
    headers = {"X-Request-ID": "one", "Accept-Encoding": "gzip"}
    small = client.post(path, **form(photo), headers=headers)
    assert gzip.decompress(small.data) == plain.data
    assert small.headers["Cache-Control"] == "no-store"


def test_what_an_answer_depends_on_is_told_in_full(make_app: MakeApp) -> None:
    client = make_app(cors_origins=("https://friend.example",)).test_client()
    response = client.get("/flowers", headers={"Accept-Encoding": "gzip"})
    assert {"accept", "accept-encoding", "origin"} <= response.vary.as_set()


def test_a_program_is_told_where_the_routes_are(client: FlaskClient) -> None:
    about = client.get("/", headers=JSON, environ_overrides={"SCRIPT_NAME": "/mine"}).get_json()
    assert about["name"] == "Petalscope"
    for path in about["links"].values():
        assert path.startswith("/mine/")
        allowed = client.options(path.removeprefix("/mine")).headers["Allow"]
        assert "GET" in allowed or "POST" in allowed


@pytest.mark.parametrize("accept", [None, "*/*", "text/html", "text/html,application/json"])
def test_all_others_get_the_page(client: FlaskClient, accept: str | None) -> None:
    response = client.get("/", headers={"Accept": accept} if accept else {})
    assert response.mimetype == "text/html"
    assert "Accept" in response.vary
