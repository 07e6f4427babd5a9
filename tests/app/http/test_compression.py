"""Compressed responses."""

from __future__ import annotations

import gzip

import pytest
from flask.testing import FlaskClient

from tests.app.conftest import form
from tests.app.http.test_caching import BROWSER, CACHEABLE


@pytest.mark.parametrize(("path", "accept"), [*CACHEABLE, ("/", BROWSER)])
def test_gzip_sends_the_same_content_in_fewer_bytes(
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


def test_a_byte_range_refers_to_the_uncompressed_file(client: FlaskClient) -> None:
    whole = client.get("/static/page.js", buffered=True).data
    headers = {"Range": "bytes=1000-1999", "Accept-Encoding": "gzip"}
    part = client.get("/static/page.js", headers=headers, buffered=True)
    assert part.status_code == 206
    assert "Content-Encoding" not in part.headers
    assert part.data == whole[1000:2000]
    headers["Range"] = "bytes=9999999-"
    response = client.get("/static/page.js", headers=headers, buffered=True)
    assert response.get_json()["code"] == "range_not_satisfiable"


@pytest.mark.slow
def test_results_are_compressed(client: FlaskClient, photo: bytes) -> None:
    path = "/predict?explain=1"
    plain = client.post(path, **form(photo), headers={"X-Request-ID": "one"})
    headers = {"X-Request-ID": "one", "Accept-Encoding": "gzip"}
    small = client.post(path, **form(photo), headers=headers)
    assert gzip.decompress(small.data) == plain.data
