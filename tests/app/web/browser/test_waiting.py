"""Slow and busy services: timeouts, countdowns and automatic tries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    choose,
    fake_result,
    giving_up,
    hold,
    in_both_browsers,
    names,
    tiles,
    violations,
    wait_for_one,
    wait_for_requests,
)
from tests.app.web.conftest import message

pytestmark = pytest.mark.browser

Respond = Callable[[Route], None]


@pytest.fixture
def open_page(visit: Visit, bundled_service: str) -> Page:
    """Open the page with a clock that only the test moves."""
    page = visit(bundled_service)
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
    return page


def busy(page: Page, status: int, retry_after: str, *, times: int) -> list[Route]:
    """Respond as a busy service, then with a rose; return a list that receives the requests."""
    seen: list[Route] = []

    def respond(route: Route) -> None:
        seen.append(route)
        if len(seen) <= times:
            route.fulfill(status=status, headers={"Retry-After": retry_after}, json={})
        else:
            route.fulfill(json=fake_result(("rose", 0.9)))

    page.route("**/predict*", respond)
    return seen


def retry_in(seconds: int) -> str:
    return message("script.retry_in", seconds=seconds)


@IN_BOTH_BROWSERS
def test_a_slow_photo_times_out(open_page: Page, photo_file: Path) -> None:
    page = open_page
    held = hold(page)
    choose(page, photo_file)
    wait_for_one(page, held)
    page.clock.run_for(9_000)
    expect(page.get_by_text(message("script.slow"))).to_have_count(0)
    page.clock.run_for(2_000)
    expect(page.locator("#panel").get_by_text(message("script.slow"))).to_be_visible()
    expect(page.locator("#status")).to_have_text(message("script.slow"))
    expect(page.get_by_role("progressbar")).to_be_visible()
    with giving_up(page, held[0]):
        page.clock.run_for(20_000)
    alert = page.get_by_role("alert")
    expect(alert.get_by_role("heading")).to_have_text(message("titles.504"))
    expect(alert).to_contain_text("30")
    page.unroute("**/predict*")
    busy(page, 200, "", times=0)
    page.get_by_role("button", name=message("page.retry")).click()
    assert names(page) == ["rose"]


def test_upload_progress_postpones_the_timeout(open_page: Page, photo_file: Path) -> None:
    page = open_page
    page.evaluate(
        """() => {
            const { send } = XMLHttpRequest.prototype;
            XMLHttpRequest.prototype.send = function (body) {
                window.sent = this;
                send.call(this, body);
            };
        }"""
    )
    held = hold(page)
    choose(page, photo_file)
    wait_for_one(page, held)
    slow = page.locator("#panel").get_by_text(message("script.slow"))
    for _ in range(2):
        page.clock.run_for(25_000)
        expect(slow).to_be_visible()
        page.evaluate(
            "sent.upload.dispatchEvent(new ProgressEvent('progress', { loaded: 1, total: 2 }))"
        )
        expect(slow).to_have_count(0)
    expect(page.get_by_role("progressbar")).to_be_visible()
    held[0].fulfill(json=fake_result(("rose", 0.9)))
    assert names(page) == ["rose"]
    page.clock.run_for(60_000)
    assert names(page) == ["rose"]


@in_both_browsers("status", [429, 503], in_firefox=[429])
def test_a_busy_service_is_asked_again_when_it_says(
    open_page: Page, photo_file: Path, status: int
) -> None:
    page = open_page
    seen = busy(page, status, "3", times=1)
    choose(page, photo_file, photo_file)
    panel = page.locator("#panel")
    expect(panel).to_contain_text(message(f"titles.{status}"))
    expect(panel).to_contain_text(retry_in(3))
    expect(page.locator("#status")).to_contain_text(retry_in(3))
    expect(page.get_by_role("progressbar")).to_be_hidden()
    expect(page.locator(".tile").first).to_contain_text(retry_in(3))
    page.clock.run_for(1_000)
    expect(panel).to_contain_text(retry_in(2))
    # Announced once, not each second.
    expect(page.locator("#status")).to_contain_text(retry_in(3))
    assert len(seen) == 1
    page.clock.run_for(2_000)
    assert names(page) == ["rose"]
    expect(tiles(page)).to_have_text(["rose"] * 2)
    assert len(seen) == 3


def test_no_wait_breaks_wcag(visit: Visit, bundled_service: str, photo_file: Path) -> None:
    page = visit(bundled_service)
    page.clock.install()  # it goes on, because axe-core waits for timers
    hold(page)
    choose(page, photo_file)
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.clock.run_for(11_000)
    expect(page.locator("#panel").get_by_text(message("script.slow"))).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    busy(page, 429, "100", times=1)
    choose(page, photo_file, photo_file)
    expect(page.locator("#panel .note")).not_to_be_empty()
    assert violations(page) == []


def test_the_wait_may_be_a_date(open_page: Page, photo_file: Path) -> None:
    page = open_page
    date = page.evaluate("new Date(Date.now() + 60_000).toUTCString()")
    busy(page, 503, date, times=1)
    choose(page, photo_file)
    expect(page.locator("#panel .note")).not_to_be_empty()
    page.clock.run_for(30_000)
    expect(page.locator("#panel .note")).not_to_be_empty()
    page.clock.run_for(31_000)
    assert names(page) == ["rose"]


def test_the_automatic_tries_end(open_page: Page, photo_file: Path) -> None:
    page = open_page
    seen = busy(page, 429, "1", times=5)
    choose(page, photo_file)
    for number, seconds in enumerate((1, 2, 4, 8), 1):
        expect(page.locator("#panel")).to_contain_text(retry_in(seconds))
        assert len(seen) == number
        page.clock.run_for(seconds * 1_000)
    alert = page.get_by_role("alert")
    expect(alert.get_by_role("heading")).to_have_text(message("titles.429"))
    assert len(seen) == 5
    page.get_by_role("button", name=message("page.retry")).click()
    assert names(page) == ["rose"]


@pytest.mark.parametrize("retry_after", ["3600", "soon", ""])
def test_a_long_or_unknown_wait_is_left_to_the_visitor(
    open_page: Page, photo_file: Path, retry_after: str
) -> None:
    seen = busy(open_page, 429, retry_after, times=1)
    choose(open_page, photo_file)
    expect(open_page.get_by_role("alert")).to_contain_text(message("titles.429"))
    assert len(seen) == 1
    open_page.get_by_role("button", name=message("page.retry")).click()
    assert names(open_page) == ["rose"]


@IN_BOTH_BROWSERS
def test_the_countdown_can_be_stopped(open_page: Page, photo_file: Path) -> None:
    page = open_page
    seen = busy(page, 429, "5", times=1)
    choose(page, photo_file)
    expect(page.locator("#panel")).to_contain_text(retry_in(5))
    page.get_by_role("button", name=message("page.cancel"), exact=True).click()
    expect(page.get_by_role("heading", name=message("page.question"))).to_be_visible()
    page.clock.run_for(10_000)
    assert len(seen) == 1
    choose(page, photo_file)
    wait_for_requests(page, seen, 2)
    assert names(page) == ["rose"]
