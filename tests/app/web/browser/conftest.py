"""Fixtures for browser tests: a gunicorn service, Chromium and Firefox.

An error or warning in the browser's console fails the test, including violations of the content
security policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.browsers import chromium, firefox
from tests.conftest import flower_image
from tests.serving import serving

Visit = Callable[..., Page]

MAX_BODY_MIB = 1

_BLOCKED_WORKER = "Service Worker registration blocked by Playwright"
_CLIPBOARD = ("clipboard-read", "clipboard-write")
# Playwright does not see what Firefox logs about the content security policy.
_LOG_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) => {
    console.error(`${event.blockedURI} violates ${event.violatedDirective}`);
});"""
_TIMEOUT_MS = 20_000  # long enough for a busy machine


@pytest.fixture(scope="package")
def bundled_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(
        tmp_path_factory.mktemp("bundled"), PETALSCOPE_MAX_BODY_MIB=str(MAX_BODY_MIB)
    ) as server:
        yield server.address


# Of the package, because asyncio.run() fails in a process while Playwright runs.
@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=_TIMEOUT_MS)
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture(scope="package")
def firefox_browser(playwright: Playwright) -> Iterator[Browser]:
    with firefox(playwright) as browser:
        yield browser


@pytest.fixture
def browser_name() -> str:
    """Return the browser of the test; IN_BOTH_BROWSERS overrides it."""
    return "chromium"


@pytest.fixture
def visit(request: pytest.FixtureRequest, browser_name: str) -> Iterator[Visit]:
    """Return a function that opens a URL as a desktop or phone, with or without JavaScript."""
    fixture = "firefox_browser" if browser_name == "firefox" else "browser"
    browser: Browser = request.getfixturevalue(fixture)
    errors: list[str] = []
    contexts = []

    def open_page(
        address: str,
        *,
        javascript: bool = True,
        phone: bool = False,
        width: int | None = None,
        language: str = "en-GB",
        installs: bool = False,
    ) -> Page:
        size = (390, 844) if phone else (1280, 800)
        context = browser.new_context(
            viewport={"width": width or size[0], "height": size[1]},
            is_mobile=phone,
            has_touch=phone,
            java_script_enabled=javascript,
            reduced_motion="reduce",
            locale=language,
            permissions=_CLIPBOARD if browser_name == "chromium" else None,
            # Playwright cannot intercept requests that a service worker handles.
            service_workers="allow" if installs else "block",
        )
        contexts.append(context)
        if browser_name == "firefox":
            context.add_init_script(_LOG_VIOLATIONS)
        page = context.new_page()
        page.set_default_timeout(_TIMEOUT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                errors.append(message.text)
                # Chromium logs every status of 400 and above and every broken connection.
                if message.type in ("error", "warning")
                and not message.text.startswith(("Failed to load resource", _BLOCKED_WORKER))
                else None
            ),
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="package")
def photo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    flower_image().save(path)
    return path


@pytest.fixture(scope="package")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("letter") / "letter.txt"
    path.write_text("Dear Sir, I know not what flower this is.")
    return path
