"""Tests of the web app manifest, its icons and the service worker."""

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
from tests.app.conftest import MakeApp, form
from tests.app.web.conftest import message
from tests.conftest import ROOT

STYLE = (ROOT / "app" / "web" / "static" / "styles" / "base.css").read_text(encoding="utf-8")
VERSION = re.compile(r"\$\{SCOPE\}([0-9a-f]{16})`")


def version(client: FlaskClient, language: str = "en") -> str:
    script = client.get("/service-worker.js", headers={"Accept-Language": language})
    assert script.status_code == 200
    found = VERSION.search(script.text)
    assert found
    return found[1]


def test_the_manifest_makes_the_page_installable(client: FlaskClient) -> None:
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


def test_phones_share_photos_with_the_installed_page(client: FlaskClient, photo: bytes) -> None:
    target = client.get("/manifest.webmanifest").get_json(force=True)["share_target"]
    assert (target["method"], target["enctype"]) == ("POST", "multipart/form-data")
    (files,) = target["params"]["files"]
    assert files["accept"] == ["image/*"]
    # As the phone sends it if the worker does not run: from no page of the service.
    response = client.post(
        target["action"],
        **form(photo, field=files["name"]),
        headers={"Accept": "text/html", "Sec-Fetch-Site": "none"},
    )
    assert response.status_code == 200
    best = client.post("/predict", **form(photo)).get_json()["predictions"][0]
    assert best["display_name"] in response.text.split("<template")[0]


def test_the_address_of_a_shared_photo_leads_to_the_start_page(client: FlaskClient) -> None:
    response = client.get("/share")
    assert (response.status_code, response.location) == (302, "/")


def test_the_icons_have_the_declared_sizes(client: FlaskClient) -> None:
    for icon in client.get("/manifest.webmanifest").get_json(force=True)["icons"]:
        with client.get(icon["src"]) as response:
            assert response.mimetype == icon["type"]
            data = response.data
        assert len(data) < 16 * 1024
        if icon["type"] == "image/png":
            with Image.open(io.BytesIO(data)) as image:
                assert "{}x{}".format(*image.size) == icon["sizes"]
                transparent = image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
            # Maskable icons are cropped by phones, and Apple puts them on black.
            assert transparent == (icon["purpose"] == "any")


def test_the_manifest_is_translated(client: FlaskClient) -> None:
    response = client.get("/manifest.webmanifest", headers={"Accept-Language": "de"})
    manifest = response.get_json(force=True)
    assert manifest["lang"] == "de"
    assert manifest["description"] == message("page.description", "de")
    assert {"accept-language", "cookie"} <= response.vary.as_set()


def test_a_page_links_to_the_manifest_in_its_own_language(client: FlaskClient) -> None:
    # Browsers fetch a manifest without cookies.
    page = client.get("/?lang=de", headers={"Accept": "text/html"}).text
    (address,) = re.findall('<link rel="manifest" href="([^"]+)">', page)
    assert client.get(address).get_json(force=True)["lang"] == "de"


def test_the_browser_toolbar_has_the_background_color_of_the_page(client: FlaskClient) -> None:
    day, night = re.findall(r"--paper: (#\w+);", STYLE)
    assert {"light": day, "dark": night} == THEME_COLORS
    page = client.get("/").text
    for scheme, color in THEME_COLORS.items():
        assert f'content="{color}" media="(prefers-color-scheme: {scheme})"' in page


def test_the_cache_name_changes_with_the_cached_files(client: FlaskClient, tmp_path: Path) -> None:
    first = version(client)
    assert version(client) == first
    assert version(client, "de") != first
    static = tmp_path / "static"
    shutil.copytree(ROOT / "app" / "web" / "static", static)
    client.application.static_folder = str(static)
    assert version(client) == first
    (static / "page.js").write_text("// Not cached.")
    assert version(client) == first
    (static / "styles" / "masthead.css").write_text("/* Cached. */")
    assert version(client) != first


def test_the_worker_is_always_revalidated(client: FlaskClient) -> None:
    response = client.get("/service-worker.js")
    assert response.mimetype == "text/javascript"
    assert response.cache_control.no_cache
    assert "Accept-Language" in response.vary


def test_urls_contain_the_mount_path(make_app: MakeApp) -> None:
    def nothing(environ: Any, start: Any) -> Any:
        raise AssertionError(environ["PATH_INFO"])

    client = Client(DispatcherMiddleware(nothing, {"/garden": make_app()}))
    page = client.get("/garden/").text
    assert 'href="/garden/manifest.webmanifest?lang=en"' in page
    assert 'data-combine="/garden/predict?combine=1"' in page
    manifest = client.get("/garden/manifest.webmanifest").json
    assert manifest is not None
    assert manifest["scope"] == manifest["start_url"] == "/garden/"
    assert manifest["share_target"]["action"] == "/garden/share"
    script = client.get("/garden/service-worker.js").text
    assert 'OFFLINE = "/garden/offline"' in script
    assert 'SHARE = "/garden/share"' in script
    assert '["/garden/style.css", "/garden/static/icon.svg"]' in script


def test_the_manifest_needs_no_key(make_app: MakeApp, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef0123\n")
    client = make_app(api_keys_file=keys).test_client()
    assert client.get("/").status_code == 401
    assert client.get("/manifest.webmanifest").status_code == 200
    credentials = b64encode(b"me:0123456789abcdef0123").decode()
    # Browsers request these with the key that the user entered.
    for path in ("/service-worker.js", "/offline"):
        assert (
            client.get(path, headers={"Authorization": f"Basic {credentials}"}).status_code == 200
        )
