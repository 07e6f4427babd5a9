"""Routes, headers and settings of identification on the visitor's device."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from app.web.translations import message_catalogs
from tests.app.conftest import MakeApp, form

BROWSER = {"Accept": "text/html"}
WORKER = "/static/on_device/worker.js"
SECTION = '<section class="on-device"'
WASM = "'wasm-unsafe-eval'"

Offering = Callable[..., FlaskClient]


@pytest.fixture
def offering(make_app: MakeApp, tiny_onnx: Path) -> Offering:
    """Return a function that creates a client of a service with an ONNX checkpoint."""

    def make(**settings: Any) -> FlaskClient:
        return make_app(**{"checkpoint": tiny_onnx, **settings}).test_client()

    return make


def manifest(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/on-device/manifest").get_json()
    return found


def policy(client: FlaskClient, path: str) -> str:
    with client.get(path, headers=BROWSER) as response:
        return response.headers["Content-Security-Policy"]


def test_the_manifest_describes_each_file(offering: Offering, tiny_onnx: Path) -> None:
    client = offering()
    files = manifest(client)["files"]
    assert set(files) == {"model", "runtime", "wasm", "catalog"}
    for file in files.values():
        with client.get(file["url"]) as response:
            assert response.mimetype == file["type"]
            assert len(response.data) == file["bytes"]
            assert hashlib.sha256(response.data).hexdigest() == file["sha256"]
            # Its address has its version.
            assert response.cache_control.immutable
            assert not response.cache_control.no_cache
    with client.get(files["model"]["url"]) as response:
        assert response.data == tiny_onnx.read_bytes()
    with client.get(files["model"]["url"].replace("?v=", "?v=0")) as response:
        assert response.cache_control.no_cache


def test_everything_that_opens_without_a_network_exists(offering: Offering) -> None:
    client = offering()
    found = manifest(client)
    assert "/" in found["pages"]
    assert "/?lang=de" in found["translations"]
    assert {"/static/page.js", "/style.css", WORKER} <= set(found["static"])
    assert not any("onnxruntime" in path for path in found["static"])
    for path in (*found["pages"], *found["translations"], *found["static"]):
        with client.get(path, headers=BROWSER) as response:
            assert response.status_code == 200


@pytest.mark.parametrize("name", ["model", "wasm"])
def test_a_download_resumes(offering: Offering, name: str) -> None:
    client = offering()
    file = manifest(client)["files"][name]
    with client.get(file["url"]) as response:
        etag, data = response.headers["ETag"], response.data
    with client.get(file["url"], headers={"Range": "bytes=1000-"}) as response:
        assert response.status_code == 206
        assert response.data == data[1000:]
    with client.get(file["url"], headers={"If-None-Match": etag}) as response:
        assert response.status_code == 304
    beyond = client.get(file["url"], headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.get_json()["code"]) == (416, "range_not_satisfiable")


def test_the_catalog_has_what_the_service_adds_to_a_prediction(
    offering: Offering, photo: bytes
) -> None:
    client = offering()
    catalog = json.loads(client.get(manifest(client)["files"]["catalog"]["url"]).data)
    facts = {item["class_id"]: item for item in catalog}
    result = client.post("/predict?top_k=6", **form(photo)).get_json()
    assert len(catalog) == len(result["predictions"]) == 6
    for prediction in result["predictions"]:
        probability = {"probability": prediction["probability"]}
        assert prediction == facts[prediction["class_id"]] | probability


def test_an_unknown_file_is_not_found(offering: Offering) -> None:
    response = offering().get("/on-device/files/other")
    assert (response.status_code, response.get_json()["code"]) == (404, "not_found")


def test_the_options_are_those_of_the_service(offering: Offering) -> None:
    assert manifest(offering(max_megapixels=7, min_side=20))["options"] == {
        "topK": 5,
        "limits": {"maxPixels": 7_000_000, "minSide": 20},
    }


def test_another_model_is_another_version(
    offering: Offering, tiny_onnx: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(tiny_onnx.read_bytes() + b"\0")
    one, two = manifest(offering()), manifest(offering(checkpoint=other))
    assert one["version"] == manifest(offering())["version"] != two["version"]
    assert one["files"]["model"]["url"] != two["files"]["model"]["url"]
    assert one["files"]["wasm"] == two["files"]["wasm"]


def test_changed_scripts_are_noticed(offering: Offering, tmp_path: Path) -> None:
    client = offering()
    static = tmp_path / "static"
    shutil.copytree(str(client.application.static_folder), static)
    before = manifest(client)
    client.application.static_folder = str(static)
    assert manifest(client) == before
    (static / "on_device" / "panel.js").write_text("// Changed.")
    after = manifest(client)
    assert after["scripts"] != before["scripts"]
    assert after["version"] == before["version"]


def test_only_the_worker_may_compile_webassembly(offering: Offering) -> None:
    client = offering()
    files = manifest(client)["files"]
    for path in (WORKER, files["runtime"]["url"]):
        assert WASM in policy(client, path)
        assert policy(client, path).replace(f" {WASM}", "") == policy(client, "/")
    for path in ("/", "/flowers", "/static/page.js", "/service-worker.js", files["model"]["url"]):
        assert "unsafe" not in policy(client, path)


@pytest.mark.parametrize("path", ["/", "/flowers"])
def test_pages_offer_the_download_with_its_size(offering: Offering, path: str) -> None:
    client = offering()
    total = sum(file["bytes"] for file in manifest(client)["files"].values())
    page = client.get(path, headers=BROWSER).text
    section = page.split(SECTION)[1].split("</section>")[0]
    assert 'data-default="off"' in section
    shown = re.search(r'class="link install" type="button">[^<]*?(\d+) MB', section)
    assert shown
    assert int(shown[1]) == pytest.approx(total / 1e6, abs=1)


@pytest.mark.parametrize("language", sorted(message_catalogs()))
def test_the_offer_weighs_less_than_3_kb(offering: Offering, language: str) -> None:
    offered, plain = offering(), offering(on_device="off")
    grown = {
        path: compressed(offered, path, language) - compressed(plain, path, language)
        for path in ("/", "/offline", "/service-worker.js")
    }
    # Both services send these, which have a use only in the offer.
    for path in ("/static/on_device/offer.js", "/static/styles/on_device.css"):
        grown[path] = compressed(offered, path, language)
    assert sum(grown.values()) <= 3000, grown


def compressed(client: FlaskClient, path: str, language: str) -> int:
    """Return the size of a response with gzip, in bytes."""
    headers = {**BROWSER, "Accept-Language": language, "Accept-Encoding": "gzip"}
    with client.get(path, headers=headers) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        return len(response.data)


def test_a_service_without_an_onnx_file_offers_nothing(client: FlaskClient) -> None:
    assert_not_offered(client)


def test_the_setting_turns_the_offer_off(offering: Offering) -> None:
    assert_not_offered(offering(on_device="off"))


def assert_not_offered(client: FlaskClient) -> None:
    for path in ("/", "/flowers"):
        page = client.get(path, headers=BROWSER).text
        assert SECTION not in page
    for path in ("/on-device/manifest", "/on-device/files/model"):
        assert client.get(path).status_code == 404
    assert "unsafe" not in policy(client, WORKER)
    assert "on-device" not in client.get("/service-worker.js").text


@pytest.mark.parametrize("name", ["tiny-int8.onnx", "tiny.onnx"])
def test_an_exported_file_beside_the_checkpoint_is_offered(
    offering: Offering, tiny_onnx: Path, tmp_path: Path, name: str
) -> None:
    shutil.copy(tiny_onnx, tmp_path / name)
    client = offering(checkpoint=tmp_path / "tiny.safetensors")
    model = manifest(client)["files"]["model"]
    assert model["sha256"] == hashlib.sha256(tiny_onnx.read_bytes()).hexdigest()


def test_the_device_may_be_the_default(offering: Offering) -> None:
    page = offering(on_device="default").get("/", headers=BROWSER).text
    assert 'data-default="on"' in page.split(SECTION)[1]


@pytest.mark.parametrize(("choice", "count"), [("default", 1), ("offer", 0)])
def test_a_default_that_cannot_be_is_logged(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, choice: str, count: int
) -> None:
    with caplog.at_level(logging.WARNING):
        make_app(on_device=choice)
    assert sum("PETALSCOPE_ON_DEVICE" in record.message for record in caplog.records) == count


def test_addresses_contain_the_mount_path(make_app: MakeApp, tiny_onnx: Path) -> None:
    def nothing(environ: Any, start: Any) -> Any:
        raise AssertionError(environ["PATH_INFO"])

    app = make_app(checkpoint=tiny_onnx)
    client = Client(DispatcherMiddleware(nothing, {"/garden": app}))
    found = client.get("/garden/on-device/manifest").json
    assert found is not None
    urls = [file["url"] for file in found["files"].values()]
    for url in (*urls, *found["pages"], *found["translations"], *found["static"]):
        assert url.startswith("/garden/")
    for item in json.loads(client.get(found["files"]["catalog"]["url"]).data):
        assert item["url"].startswith("/garden/flowers/")


def test_the_files_need_a_key_but_not_the_scripts(offering: Offering, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef0123\n")
    client = offering(api_keys_file=keys)
    assert client.get("/on-device/manifest").status_code == 401
    with client.get(WORKER) as response:
        assert response.status_code == 200
