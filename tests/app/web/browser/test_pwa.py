"""The progressive web app: installation and the offline page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    PHOTO,
    SCROLL_WIDTH,
    choose,
    names,
    violations,
    wait_until,
)
from tests.app.web.conftest import message
from tests.conftest import ROOT
from tests.serving import free_port
from tests.wsgi_server import serving

pytestmark = pytest.mark.browser

CACHED = """async () => {
    const cached = {};
    for (const name of await caches.keys()) {
        const requests = await (await caches.open(name)).keys();
        cached[name] = requests.map(({ url }) => new URL(url).pathname).sort();
    }
    return cached;
}"""
CACHES = "caches.keys()"
Mount = Callable[..., Any]


@pytest.fixture
def mount(app: Flask) -> Mount:
    """Serve the app at a port, below a path or not, until the block ends."""

    @contextmanager
    def serve(prefix: str = "", port: int = 0) -> Iterator[str]:
        mounted = DispatcherMiddleware(NotFound(), {prefix: app})
        with serving(mounted, port) as origin:
            yield f"{origin}{prefix}/"

    return serve


def wait_for_worker(page: Page) -> None:
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")


@pytest.mark.parametrize("prefix", ["", "/garden"])
def test_the_page_is_installable(visit: Visit, mount: Mount, prefix: str) -> None:
    with mount(prefix) as address:
        page = visit(address, installs=True)
        wait_for_worker(page)
        session = page.context.new_cdp_session(page)
        manifest = session.send("Page.getAppManifest")
        assert manifest["errors"] == []
        assert json.loads(manifest["data"])["scope"] == f"{prefix}/"
        # Playwright's contexts are incognito, where Chromium installs nothing.
        errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
        assert [error["errorId"] for error in errors] in ([], ["in-incognito"])


@pytest.mark.parametrize(
    ("prefix", "language", "title", "again"),
    [
        ("", "en-GB", message("offline.title"), message("page.retry")),
        ("/garden", "de-DE", message("offline.title", "de"), message("page.retry", "de")),
    ],
)
def test_the_offline_page_is_shown_until_the_service_is_back(
    visit: Visit, mount: Mount, prefix: str, language: str, title: str, again: str
) -> None:
    port = free_port()  # to which the service returns
    with mount(prefix, port) as address:
        page = visit(address, installs=True, language=language, phone=True, width=320)
        wait_for_worker(page)
    for path in ("", "flowers"):
        page.goto(f"{address}{path}")
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        assert page.url == f"{address}{path}"
    assert page.evaluate("document.styleSheets[0].cssRules.length") > 10
    assert page.locator(".plate img").evaluate("icon => icon.naturalWidth") > 0
    assert page.evaluate(SCROLL_WIDTH) <= 320
    assert violations(page) == []
    with mount(prefix, port):
        page.get_by_role("link", name=again).click()
        expect(page.get_by_role("searchbox")).to_be_visible()


def test_only_the_offline_page_is_cached(visit: Visit, mount: Mount, photo_file: Path) -> None:
    with mount() as address:
        page = visit(address, installs=True)
        wait_for_worker(page)
        page.reload()  # so that the worker controls the page
        assert page.evaluate("navigator.serviceWorker.controller !== null")
        choose(page, photo_file)
        names(page)
        expect(page.locator(PHOTO)).to_be_visible()
        page.goto(f"{address}flowers")
        cached = page.evaluate(CACHED)
        assert list(cached.values()) == [["/offline", "/static/icon.svg", "/style.css"]]


def test_a_new_version_replaces_the_cache(
    visit: Visit, mount: Mount, app: Flask, tmp_path: Path
) -> None:
    static = tmp_path / "static"
    shutil.copytree(ROOT / "app" / "web" / "static", static)
    app.static_folder = str(static)
    with mount() as address:
        page = visit(address, installs=True)
        wait_for_worker(page)
        before = page.evaluate(CACHES)
        (static / "styles" / "base.css").write_text(
            ":root { --paper: rgb(1, 2, 3) } body { color: red }"
        )
        page.goto(f"{address}flowers")
        page.goto(address)
        # Only the names, because opening a deleted cache would create it again.
        wait_until(page, lambda: not set(page.evaluate(CACHES)) & set(before))
        assert len(page.evaluate(CACHES)) == 1
    page.goto(address)
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(255, 0, 0)"


def share(page: Page, address: str, *paths: Path) -> None:
    """Send photos to the share target as a phone does: with a form that opens its response."""
    page.evaluate(
        """(action) => {
            const form = document.createElement("form");
            Object.assign(form, { action, method: "post", enctype: "multipart/form-data" });
            form.innerHTML = '<input id="shared" type="file" name="image" multiple>';
            document.body.append(form);
        }""",
        f"{address}share",
    )
    page.set_input_files("#shared", paths)
    with page.expect_navigation():
        page.evaluate("document.getElementById('shared').form.submit()")


@pytest.mark.parametrize("prefix", ["", "/garden"])
def test_shared_photos_are_classified_on_the_start_page(
    visit: Visit, mount: Mount, photo_file: Path, prefix: str
) -> None:
    with mount(prefix) as address:
        page = visit(address, installs=True)
        wait_for_worker(page)
        page.reload()  # so that the worker controls the page
        share(page, address, photo_file, photo_file)
        assert len(names(page)) == 5
        expect(page.locator(".tile")).to_have_count(2)
        expect(page.locator(PHOTO)).to_have_attribute("src", re.compile("^blob:"))
        assert page.url == address
        # A reload sends and shows nothing again, and no photo was cached.
        page.reload()
        expect(page.get_by_role("heading", name=message("page.question"))).to_be_visible()
        for paths in page.evaluate(CACHED).values():
            assert not any("share" in path for path in paths)


def test_photos_that_the_worker_has_lost_are_explained(
    visit: Visit, mount: Mount, photo_file: Path
) -> None:
    with mount() as address:
        page = visit(address, installs=True)
        wait_for_worker(page)
        page.goto(f"{address}?shared")
        expect(page.get_by_role("alert")).to_be_visible()
        choose(page, photo_file)
        assert len(names(page)) == 5


def test_a_shared_photo_is_classified_without_the_worker(
    visit: Visit, mount: Mount, photo_file: Path
) -> None:
    with mount() as address:
        page = visit(address)
        share(page, address, photo_file)
        assert page.url == f"{address}share"
        assert len(names(page)) == 5
        expect(page.locator(PHOTO)).to_have_attribute("src", re.compile("^data:"))
