"""The manifest, the icons it names, and the worker that keeps the page for when all is gone."""

from __future__ import annotations

import io
import re
import shutil
from base64 import b64encode
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from PIL import Image
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from app.web.rendering import THEME_COLORS
from tests.app.conftest import MakeApp
from tests.conftest import ROOT

STYLE = (ROOT / "app" / "web" / "static" / "style.css").read_text(encoding="utf-8")
VERSION = re.compile(r"\$\{SCOPE\}([0-9a-f]{16})`")


def version(client: FlaskClient, language: str = "en") -> str:
    script = client.get("/service-worker.js", headers={"Accept-Language": language})
    assert script.status_code == 200
    found = VERSION.search(script.text)
    assert found
    return found[1]


def test_the_manifest_says_what_browsers_need_to_install(client: FlaskClient) -> None:
    response = client.get("/manifest.webmanifest")
    assert response.content_type == "application/manifest+json"
    manifest = response.get_json(force=True)
    assert (manifest["name"], manifest["display"], manifest["lang"]) == (
        "Petalscope",
        "standalone",
        "en",
    )
    assert manifest["start_url"] == manifest["scope"] == manifest["id"] == "/"
    purposes = {(icon["sizes"], icon["purpose"]) for icon in manifest["icons"]}
    assert purposes >= {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")}


def test_the_icons_are_as_large_as_the_manifest_says(client: FlaskClient) -> None:
    for icon in client.get("/manifest.webmanifest").get_json(force=True)["icons"]:
        with client.get(icon["src"]) as response:
            assert response.mimetype == icon["type"]
            data = response.data
        assert len(data) < 16 * 1024
        if icon["type"] == "image/png":
            with Image.open(io.BytesIO(data)) as image:
                assert "{}x{}".format(*image.size) == icon["sizes"]
                transparent = image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
            # What a phone cuts to its own shape, and Apple lays on black, has no holes.
            assert transparent == (icon["purpose"] == "any")


def test_the_manifest_follows_the_reader(client: FlaskClient) -> None:
    response = client.get("/manifest.webmanifest", headers={"Accept-Language": "de"})
    manifest = response.get_json(force=True)
    assert manifest["lang"] == "de"
    assert "Blume" in manifest["description"]
    assert "Accept-Language" in response.vary


def test_the_browsers_frame_has_the_colours_of_the_page(client: FlaskClient) -> None:
    day, night = re.findall(r"--paper: (#\w+);", STYLE)
    assert {"light": day, "dark": night} == THEME_COLORS
    page = client.get("/").text
    for scheme, colour in THEME_COLORS.items():
        assert f'content="{colour}" media="(prefers-color-scheme: {scheme})"' in page


def test_another_page_to_keep_has_another_name(client: FlaskClient, tmp_path: Path) -> None:
    first = version(client)
    assert version(client) == first
    assert version(client, "de") != first
    static = tmp_path / "static"
    shutil.copytree(ROOT / "app" / "web" / "static", static)
    client.application.static_folder = str(static)
    assert version(client) == first
    (static / "page.js").write_text("// Not kept.")
    assert version(client) == first
    (static / "style.css").write_text("/* Kept. */")
    assert version(client) != first


def test_the_worker_is_asked_for_anew_each_time(client: FlaskClient) -> None:
    response = client.get("/service-worker.js")
    assert response.mimetype == "text/javascript"
    assert response.cache_control.no_cache
    assert "Accept-Language" in response.vary


def test_below_a_prefix_all_addresses_are(make_app: MakeApp) -> None:
    def nothing(environ: Any, start: Any) -> Any:
        raise AssertionError(environ["PATH_INFO"])

    client = Client(DispatcherMiddleware(nothing, {"/garden": make_app()}))
    page = client.get("/garden/").text
    assert 'href="/garden/manifest.webmanifest"' in page
    assert 'data-combine="/garden/predict?combine=1"' in page
    manifest = client.get("/garden/manifest.webmanifest").json
    assert manifest is not None
    assert manifest["scope"] == manifest["start_url"] == "/garden/"
    script = client.get("/garden/service-worker.js").text
    assert 'OFFLINE = "/garden/offline"' in script
    assert '["/garden/static/style.css", "/garden/static/icon.svg"]' in script


def test_browsers_read_the_manifest_without_a_key(make_app: MakeApp, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef0123\n")
    client = make_app(api_keys_file=keys).test_client()
    assert client.get("/").status_code == 401
    assert client.get("/manifest.webmanifest").status_code == 200
    given = b64encode(b"me:0123456789abcdef0123").decode()
    # These the page asks for, with the key that the browser has by then.
    for path in ("/service-worker.js", "/offline"):
        assert client.get(path, headers={"Authorization": f"Basic {given}"}).status_code == 200
