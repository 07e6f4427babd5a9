"""Actions and queries on the page, and fake responses of the API."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_FILE_PATH  # type: ignore[import-untyped]
from playwright.sync_api import JSHandle, Locator, Page, Route, expect

from app.web.translations import ENGLISH
from model.ood import Verdict
from tests.app.web.conftest import message
from tests.serving import TIMEOUT_SECONDS

PHOTO = "img.photo"
WITH_AND_WITHOUT_SCRIPTS = pytest.mark.parametrize(
    "javascript", [True, False], ids=["scripts", "no scripts"]
)
BROWSER_NAMES = ["chromium", pytest.param("firefox", marks=pytest.mark.firefox)]
IN_BOTH_BROWSERS = pytest.mark.parametrize("browser_name", BROWSER_NAMES)


def in_both_browsers(
    names: str, values: Iterable[Any], *, in_firefox: Iterable[Any]
) -> pytest.MarkDecorator:
    """Parametrize a test with all values in Chromium and some in Firefox.

    Args:
        names: Names of the arguments, separated by commas.
        values: Values in Chromium; tuples if there are several names.
        in_firefox: Values in Firefox.
    """

    def cases(browser_name: str, chosen: Iterable[Any]) -> list[Any]:
        marks = [pytest.mark.firefox] if browser_name == "firefox" else []
        return [
            pytest.param(
                browser_name, *(value if isinstance(value, tuple) else (value,)), marks=marks
            )
            for value in chosen
        ]

    return pytest.mark.parametrize(
        f"browser_name,{names}", [*cases("chromium", values), *cases("firefox", in_firefox)]
    )


# Widths in CSS pixels.
DEVICES = pytest.mark.parametrize(
    ("phone", "widths"), [(True, [320, 390, 736]), (False, [1280, 3840])], ids=["phone", "desktop"]
)
LONG_NAMES = ("hard-leaved pocket orchid", "prince of wales feathers", "colt's foot")
SCROLL_WIDTH = "document.documentElement.scrollWidth"
_WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_COLOUR_RULES = ["color-contrast", "link-in-text-block"]
# Dark mode changes colours only, so the other rules would find the same again.
_CHECKS: tuple[tuple[Literal["light", "dark"], dict[str, Any]], ...] = (
    ("light", {"type": "tag", "values": _WCAG}),
    ("dark", {"type": "rule", "values": _COLOUR_RULES}),
)


def in_firefox(page: Page) -> bool:
    browser = page.context.browser
    return browser is not None and browser.browser_type.name == "firefox"


def choose(page: Page, *paths: Path, field: str = "file") -> None:
    """Choose files; without scripts, also submit the form, which loads a new page."""
    page.set_input_files(f"#{field}", paths)
    button = page.locator(f"form:has(#{field}) button")
    if button.is_visible():
        with page.expect_navigation():
            button.click()


def names(page: Page) -> list[str]:
    """Wait for a result and return its names; `best` waits for a particular one."""
    expect(page.locator(".prediction").first).to_be_visible()
    return page.locator(".prediction .name").all_text_contents()


def best(page: Page) -> Locator:
    return page.locator(".prediction .name").first


def copied_as(page: Page, action: str, language: str = ENGLISH) -> str:
    """Copy the result by the menu, as "text" or "json", and return the clipboard."""
    hold_time(page)
    menu = page.locator(".menu")
    if menu.get_attribute("open") is None:
        menu.locator("summary").click()
    button = page.locator(f"[data-action={action}]")
    button.click()
    expect(button).to_have_text(message("script.copied", language))
    return str(page.evaluate("navigator.clipboard.readText()"))


def settle(page: Page) -> None:
    """Wait until all images are decoded and have their final size."""
    page.evaluate(
        """() => {
            const pictures = [...document.images].filter((image) => image.src);
            return Promise.all(pictures.map((image) => image.decode())).then(() => true);
        }"""
    )


def wait_until(page: Page, condition: Callable[[], object]) -> None:
    """Wait until a condition holds, while Playwright handles events.

    Playwright's `wait_for_function` evaluates a string, which the page's policy forbids.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        page.wait_for_timeout(20)


def resize(page: Page, width: int, height: int = 800) -> None:
    page.set_viewport_size({"width": width, "height": height})
    # Not innerWidth, which grows with the content on a phone.
    wait_until(page, lambda: page.evaluate("document.documentElement.clientWidth") == width)


def hold_time(page: Page) -> None:
    """Hold the page's timers until `let_time_pass`, because slow machines would miss a state."""
    page.evaluate(
        "() => { window.later ??= []; window.setTimeout = (call) => window.later.push(call); }"
    )


def let_time_pass(page: Page) -> None:
    page.evaluate("window.later.splice(0).forEach((call) => call())")


def transfer(page: Page, *paths: Path) -> JSHandle:
    """Return a DataTransfer with files, for a drop or paste event."""
    return page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [data, name] of files) {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
            }
            return transfer;
        }""",
        [[base64.b64encode(path.read_bytes()).decode("ascii"), path.name] for path in paths],
    )


def tiles(page: Page) -> Locator:
    return page.locator(".tile .label")


def fake_result(*predictions: tuple[str, float], verdict: Verdict = "known") -> dict[str, Any]:
    """Return a fake response of POST /predict with given names and probabilities."""
    items: list[dict[str, Any]] = [
        {
            "class_id": name,
            "name": name,
            "display_name": name,
            "translations": {},
            "probability": probability,
            "scientific_name": None,
            "toxicity": None,
            "picture": None,
            "url": "/flowers/1-pink-primrose",
        }
        for name, probability in predictions
    ]
    return {"predictions": items, "verdict": verdict}


def respond_with(page: Page, *predictions: tuple[str, float], verdict: Verdict = "known") -> None:
    result = fake_result(*predictions, verdict=verdict)
    page.route("**/predict*", lambda route: route.fulfill(json=result))


def predicted_by_api(address: str, path: Path) -> list[str]:
    request = urllib.request.Request(
        f"{address}predict", path.read_bytes(), {"Content-Type": "image/jpeg"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return [item["display_name"] for item in json.load(response)["predictions"]]


def drop(page: Page, *paths: Path) -> None:
    drop_data(page, transfer(page, *paths))


def drop_data(page: Page, data: JSHandle) -> None:
    """Drop a DataTransfer at the bottom of the page."""
    hint = page.locator(".drop-here")
    page.dispatch_event("footer", "dragover", {"dataTransfer": data})
    expect(hint).to_be_visible()
    page.dispatch_event("footer", "drop", {"dataTransfer": data})
    expect(hint).to_be_hidden()


def paste(page: Page, *paths: Path) -> None:
    page.evaluate(
        """(clipboardData) => {
            const event = new ClipboardEvent("paste", { bubbles: true });
            // Firefox ignores this option of the constructor.
            Object.defineProperty(event, "clipboardData", { value: clipboardData });
            document.body.dispatchEvent(event);
        }""",
        transfer(page, *paths),
    )


def hold(page: Page, after: int = 0) -> list[Route]:
    """Hold all requests after the first ones; return the list that receives them."""
    held: list[Route] = []
    seen: list[Route] = []

    def handle(route: Route) -> None:
        seen.append(route)
        if len(seen) > after:
            held.append(route)
        else:
            route.continue_()

    page.route("**/predict*", handle)
    return held


def wait_for_one(page: Page, held: list[Route]) -> None:
    wait_for_requests(page, held, 1)


def wait_for_requests(page: Page, held: list[Route], count: int) -> None:
    wait_until(page, lambda: len(held) >= count)


@contextmanager
def giving_up(page: Page, route: Route) -> Iterator[None]:
    """Expect the block to cancel a held request, which Playwright reports in Chromium only."""
    if in_firefox(page):
        yield
        return
    with page.expect_event("requestfailed") as given_up:
        yield
    assert given_up.value == route.request


def violations(page: Page) -> list[Any]:
    """Return axe-core's violations of WCAG 2.2 AA and best practices, in light and dark mode.

    Playwright sets no dark mode in Firefox.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8"))
    found = []
    for scheme, run_only in _CHECKS[:1] if in_firefox(page) else _CHECKS:
        page.emulate_media(color_scheme=scheme)
        found += page.evaluate(
            """async (runOnly) => {
                const { violations } = await axe.run({ runOnly, resultTypes: ["violations"] });
                return violations;
            }""",
            run_only,
        )
    return [(item["id"], [node["html"] for node in item["nodes"]]) for item in found]
