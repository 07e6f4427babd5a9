"""Keyboard focus, history and the warning before photos are lost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import Dialog, Locator, Page, Playwright, expect

from tests.app.conftest import MakeApp
from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    PHOTO,
    choose,
    fake_result,
    hold,
    names,
    respond_with,
    tiles,
    violations,
    wait_for_one,
    wait_until,
)
from tests.app.web.conftest import message
from tests.browsers import BROWSERS
from tests.wsgi_server import serving

pytestmark = pytest.mark.browser


def start_page(page: Page) -> Locator:
    return page.get_by_role("heading", name=message("page.question"))


def expect_warning(page: Page) -> None:
    """Try to close the page, and stay when it warns."""
    with page.expect_event("dialog") as warning:
        page.close(run_before_unload=True)
    assert warning.value.type == "beforeunload"
    warning.value.dismiss()


@IN_BOTH_BROWSERS
def test_the_focus_moves_to_the_panel(visit: Visit, bundled_service: str, photo_file: Path) -> None:
    page = visit(bundled_service)
    held = hold(page)
    for number in range(2):
        page.focus("#file")
        choose(page, photo_file)
        expect(page.locator("#panel")).to_be_focused()
        wait_for_one(page, held)
        held.pop().fulfill(json=fake_result(("rose", 0.9)))
        expect(page.locator(".prediction")).to_have_count(1)
        expect(page.locator("#panel")).to_be_focused()
        if number:
            expect(tiles(page)).to_have_text(["rose"] * 2)


@IN_BOTH_BROWSERS
def test_back_and_forward_switch_between_start_page_and_photos(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(f"{bundled_service}about")
    page.goto(bundled_service)
    respond_with(page, ("rose", 0.9))
    choose(page, photo_file)
    names(page)
    page.go_back()
    expect(start_page(page)).to_be_visible()
    # The photo is not lost, although it is the only one.
    expect(tiles(page)).to_have_text(["rose"])
    page.go_forward()
    assert names(page) == ["rose"]
    expect(page.locator(PHOTO)).to_be_visible()
    page.go_back()
    page.locator(".tile").click()
    assert names(page) == ["rose"]
    page.go_back()
    expect(start_page(page)).to_be_visible()
    page.go_back()
    expect(page).to_have_url(f"{bundled_service}about")


@IN_BOTH_BROWSERS
def test_the_logo_keeps_the_photos(visit: Visit, bundled_service: str, photo_file: Path) -> None:
    page = visit(bundled_service)
    respond_with(page, ("rose", 0.9))
    choose(page, photo_file, photo_file)
    expect(tiles(page)).to_have_text(["rose"] * 2)
    page.click(".brand")
    expect(start_page(page)).to_be_visible()
    expect(page.locator("#panel")).to_be_focused()
    expect(tiles(page)).to_have_text(["rose"] * 2)
    assert page.title() == "Petalscope"
    assert violations(page) == []
    page.go_back()
    assert names(page) == ["rose"]


def test_the_logo_loads_the_start_page_if_there_are_no_photos(
    visit: Visit, bundled_service: str
) -> None:
    page = visit(bundled_service)
    with page.expect_navigation():
        page.click(".brand")
    expect(start_page(page)).to_be_visible()


@IN_BOTH_BROWSERS
def test_canceling_the_only_photo_leaves_no_step_in_the_history(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(f"{bundled_service}about")
    page.goto(bundled_service)
    held = hold(page)
    choose(page, photo_file)
    wait_for_one(page, held)
    page.keyboard.press("Escape")
    # A photo pasted at once is shown, not hidden by the step back.
    choose(page, photo_file)
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.keyboard.press("Escape")
    expect(start_page(page)).to_be_visible()
    wait_until(page, lambda: page.evaluate("history.state") == "start")
    page.go_back()
    expect(page).to_have_url(f"{bundled_service}about")


@IN_BOTH_BROWSERS
def test_closing_the_page_warns_while_photos_would_be_lost(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    held = hold(page)
    page.click("h1")  # browsers ask only visitors who have used the page
    choose(page, photo_file)
    wait_for_one(page, held)
    expect_warning(page)
    held[0].fulfill(json=fake_result(("rose", 0.9)))
    names(page)
    expect_warning(page)
    page.click(".brand")
    expect_warning(page)


@IN_BOTH_BROWSERS
def test_closing_the_page_without_photos_does_not_warn(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    held = hold(page)
    page.click("h1")
    choose(page, photo_file)
    wait_for_one(page, held)
    page.keyboard.press("Escape")
    expect(start_page(page)).to_be_visible()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.type))
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert dialogs == []


@IN_BOTH_BROWSERS
def test_a_link_does_not_warn_and_lost_photos_are_explained(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    dialogs: list[str] = []

    def accept(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.accept()

    page.on("dialog", accept)
    choose(page, photo_file)
    page.locator(".prediction .name").first.click()
    expect(page.locator("main.flower")).to_be_visible()
    assert dialogs == []
    # Playwright turns off the cache from which browsers restore the photos.
    page.go_back()
    expect(page.get_by_role("alert")).to_have_text(message("script.lost"))
    page.reload()
    expect(start_page(page)).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()
    choose(page, photo_file)
    names(page)
    page.reload()
    expect(page.get_by_role("alert")).to_have_text(message("script.lost"))


# Sends what the page has when it is shown, because Playwright cannot look into a restored page.
REPORT = """addEventListener("pageshow", ({ persisted }) => {
    if (location.pathname !== "/") return;
    const found = [...document.querySelectorAll(".prediction .name")];
    const report = {
        persisted,
        names: found.map((name) => name.textContent),
        tiles: document.querySelectorAll(".tile").length,
        width: document.querySelector("img.photo")?.naturalWidth ?? 0,
    };
    void fetch(`/report?${new URLSearchParams(report)}`);
});"""
WAYS_BACK = {
    "browser": "setTimeout(() => history.back())",
    "page": "setTimeout(() => document.querySelector('.back').click())",
}


@IN_BOTH_BROWSERS
@pytest.mark.parametrize("way", WAYS_BACK)
def test_the_browser_restores_the_photos_on_the_way_back_from_a_flower(
    playwright: Playwright, make_app: MakeApp, photo_file: Path, browser_name: str, way: str
) -> None:
    app = make_app()
    reports: Queue[dict[str, str]] = Queue()

    def service(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/report":
            return app.wsgi_app(environ, start_response)
        reports.put(dict(parse_qsl(environ["QUERY_STRING"])))
        start_response("204 No Content", [])
        return []

    launch = BROWSERS[browser_name]
    with serving(service) as origin, launch(playwright, keeps_pages=True) as browser:
        context = browser.new_context(locale="en-GB")
        context.add_init_script(REPORT)
        page = context.new_page()
        page.goto(origin)
        assert reports.get(timeout=30)["tiles"] == "0"
        choose(page, photo_file, photo_file)
        expect(page.locator("#status")).to_have_text(message("script.done"))
        found = names(page)
        page.locator(".prediction .name").first.click()
        expect(page.locator(".back")).to_be_visible()
        page.evaluate(WAYS_BACK[way])
        assert reports.get(timeout=30) == {
            "persisted": "true",
            "names": ",".join(found),
            "tiles": "2",
            "width": "400",
        }
