"""Chromium and Firefox for tests: without a sandbox, a GPU or background network requests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from playwright.sync_api import Browser, Playwright

Preferences = Mapping[str, str | float | bool]

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
_FIREFOX_PREFERENCES: Preferences = {
    "dom.events.testing.asyncClipboard": True,  # reads the clipboard without a prompt
    "network.captive-portal-service.enabled": False,
    "ui.allPointerCapabilities": 6,  # a mouse, which a headless Firefox lacks
    "ui.primaryPointerCapabilities": 6,
    "ui.useOverlayScrollbars": 1,  # as in Chromium
    "ui.prefersReducedMotion": 1,  # Playwright sets it in Chromium only
}


def find_firefox() -> str | None:
    """Return the path of Debian's Firefox ESR, else of another Firefox; None if there is none."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


@contextmanager
def chromium(playwright: Playwright, *, keeps_pages: bool = False) -> Iterator[Browser]:
    """Run Chromium until the block ends: its headless shell if it is installed and suffices.

    The shell takes less than half of the processor time, and keeps no pages in memory.

    Args:
        playwright: The driver; a process has one at a time.
        keeps_pages: Keep pages that were left in memory, for the way back. Playwright's `Page`
            does not follow a page that the browser restores.
    """
    shell = None if keeps_pages else shutil.which("chromium-headless-shell")
    with playwright.chromium.launch(
        executable_path=shell or shutil.which("chromium"),
        args=_CHROMIUM_ARGUMENTS,
        ignore_default_args=["--disable-back-forward-cache"] if keeps_pages else None,
    ) as browser:
        yield browser


@contextmanager
def firefox(
    playwright: Playwright, *, keeps_pages: bool = False, scripts: bool = True
) -> Iterator[Browser]:
    """Run an ordinary Firefox, which Playwright drives by WebDriver BiDi, until the block ends.

    Its contexts emulate no touch screen, print style or dark mode.

    Args:
        playwright: The driver; a process has one at a time.
        keeps_pages: Keep pages that were left in memory, as in `chromium`.
        scripts: Run the scripts of pages. Without them, `expect` and clicks of Playwright hang.
    """
    preferences = dict(_FIREFOX_PREFERENCES)
    if not keeps_pages:
        preferences["browser.sessionhistory.max_total_viewers"] = 0
    if not scripts:
        preferences["javascript.enabled"] = False
    with playwright.firefox.launch(
        channel="moz-firefox",
        executable_path=find_firefox(),
        firefox_user_prefs=preferences,
        timeout=_LAUNCH_MS,
    ) as browser:
        yield browser


BROWSERS: Final[dict[str, Callable[..., AbstractContextManager[Browser]]]] = {
    "chromium": chromium,
    "firefox": firefox,
}
