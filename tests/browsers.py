"""Chromium and Firefox for tests: without a sandbox, a GPU or background network requests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright

_LAUNCH_MS = 120_000  # Firefox makes a profile, which takes a busy machine longer than the default

_CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
_FIREFOX_PREFERENCES: dict[str, str | float | bool] = {
    "dom.events.testing.asyncClipboard": True,  # reads the clipboard without a prompt
    "network.captive-portal-service.enabled": False,
    "ui.prefersReducedMotion": 1,  # Playwright sets it in Chromium only
}


def find_chromium() -> str | None:
    """Return the path of Chromium's headless shell, else of Chromium; None if there is neither.

    The shell takes less than half of the processor time.
    """
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


def find_firefox() -> str | None:
    """Return the path of Debian's Firefox ESR, else of another Firefox; None if there is none."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Run Chromium until the block ends; a process runs one Playwright at a time."""
    with playwright.chromium.launch(
        executable_path=find_chromium(), args=_CHROMIUM_ARGUMENTS
    ) as browser:
        yield browser


@contextmanager
def firefox(playwright: Playwright) -> Iterator[Browser]:
    """Run an ordinary Firefox, which Playwright drives by WebDriver BiDi, until the block ends.

    Its contexts emulate no touch screen, print style or dark mode, and run JavaScript. Playwright
    does not follow a page that Firefox restores on the way back.
    """
    with playwright.firefox.launch(
        channel="moz-firefox",
        executable_path=find_firefox(),
        firefox_user_prefs=_FIREFOX_PREFERENCES,
        timeout=_LAUNCH_MS,
    ) as browser:
        yield browser
