"""Tests of the style sheet that is joined from one file per component."""

from __future__ import annotations

from pathlib import Path

from flask.testing import FlaskClient

from tests.app.conftest import MakeApp
from tests.conftest import ROOT


def test_the_style_sheet_contains_each_file_once(client: FlaskClient) -> None:
    response = client.get("/style.css")
    assert response.content_type == "text/css; charset=utf-8"
    folder = ROOT / "app" / "web" / "static" / "styles"
    files = [path.read_bytes() for path in folder.glob("*.css")]
    assert [response.data.count(content) for content in files] == [1] * len(files)
    assert len(response.data) < sum(map(len, files)) + 100


def test_the_style_sheet_needs_no_key(make_app: MakeApp, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef0123\n")
    client = make_app(api_keys_file=keys).test_client()
    assert client.get("/style.css").status_code == 200
