"""The queue of photos: adding, canceling, trying again, and its memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    PHOTO,
    best,
    choose,
    drop,
    fake_result,
    giving_up,
    hold,
    in_both_browsers,
    names,
    paste,
    respond_with,
    tiles,
    violations,
    wait_for_one,
    wait_for_requests,
)
from tests.app.web.conftest import message
from tests.conftest import flower_image

pytestmark = pytest.mark.browser

MAX_DECODED = 6  # photos that the page keeps


def cancel_button(page: Page) -> Locator:
    return page.get_by_role("button", name=message("page.cancel"), exact=True)


def answer(route: Route, name: str) -> None:
    route.fulfill(json=fake_result((name, 0.9)))


@pytest.mark.parametrize("way", [drop, paste, choose])
def test_photos_added_to_a_pending_one_wait_for_their_turn(
    visit: Visit, bundled_service: str, photo_file: Path, way: Callable[..., None]
) -> None:
    page = visit(bundled_service)
    held = hold(page)
    choose(page, photo_file)
    wait_for_one(page, held)
    way(page, photo_file, photo_file)
    expect(page.locator("#status")).to_have_text(message("script.added", count=2))
    expect(tiles(page)).to_have_count(3)
    expect(page.locator("#panel")).to_be_focused()
    assert len(held) == 1
    answer(held[0], "rose")
    assert names(page) == ["rose"]
    for number, name in enumerate(("tulip", "peony"), 1):
        wait_for_requests(page, held, number + 1)
        answer(held[number], name)
    expect(tiles(page)).to_have_text(["rose", "tulip", "peony"])
    expect(best(page)).to_have_text("rose")


def test_a_photo_chosen_after_a_result_is_shown_while_it_waits(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    held = hold(page)
    choose(page, photo_file, photo_file)
    wait_for_one(page, held)
    answer(held[0], "rose")
    assert names(page) == ["rose"]
    wait_for_requests(page, held, 2)
    choose(page, photo_file)
    waiting = page.locator("#panel").get_by_text(message("script.waiting"))
    expect(waiting).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_hidden()
    expect(page.locator(PHOTO)).not_to_be_attached()
    assert violations(page) == []
    # Cancel returns to the result, and the other photo is still pending.
    cancel_button(page).click()
    assert names(page) == ["rose"]
    choose(page, photo_file)
    answer(held[1], "tulip")
    wait_for_requests(page, held, 3)
    expect(page.get_by_role("progressbar")).to_be_visible()
    answer(held[2], "peony")
    expect(best(page)).to_have_text("peony")
    expect(tiles(page)).to_have_text(["rose", "tulip", "peony"])


@in_both_browsers("key", ["Enter", "Escape"], in_firefox=["Escape"])
def test_canceling_the_only_photo_restores_the_start_page(
    visit: Visit, bundled_service: str, photo_file: Path, key: str
) -> None:
    page = visit(bundled_service)
    held = hold(page)
    choose(page, photo_file)
    wait_for_one(page, held)
    if key == "Enter":
        cancel_button(page).focus()
    with giving_up(page, held[0]):
        page.keyboard.press(key)
    expect(page.get_by_role("heading", name=message("page.question"))).to_be_visible()
    expect(page.locator(".plate")).to_be_visible()
    expect(page.get_by_text(message("page.choose"))).to_be_visible()
    assert page.title() == "Petalscope"
    expect(tiles(page)).to_have_count(0)
    expect(page.locator("#panel")).to_be_focused()
    expect(page.locator("#status")).to_have_text(message("script.cancelled"))


@IN_BOTH_BROWSERS
def test_canceling_goes_on_with_the_next_photo(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    held = hold(page)
    choose(page, photo_file, photo_file, photo_file)
    wait_for_one(page, held)
    with giving_up(page, held[0]):
        page.keyboard.press("Escape")
    wait_for_requests(page, held, 2)
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(tiles(page)).to_have_count(2)
    answer(held[1], "tulip")
    assert names(page) == ["tulip"]
    wait_for_requests(page, held, 3)
    page.keyboard.press("Escape")  # a result is on display, so nothing is canceled
    answer(held[2], "peony")
    expect(tiles(page)).to_have_text(["tulip", "peony"])


def test_canceling_restores_the_previous_result(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("rose", 0.9))
    choose(page, photo_file)
    names(page)
    title = page.title()
    hold(page)
    choose(page, photo_file)
    cancel_button(page).click()
    assert names(page) == ["rose"]
    assert page.title() == title
    expect(page.locator(PHOTO)).to_be_visible()


@IN_BOTH_BROWSERS
def test_the_remaining_photos_can_be_canceled(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    held = hold(page)
    choose(page, *[photo_file] * 4)
    wait_for_one(page, held)
    rest = page.get_by_role("button", name=message("page.cancel_rest"))
    # The photo on display has a button of its own.
    page.locator(".tile").last.click()
    rest.click()
    expect(tiles(page)).to_have_count(1)
    expect(rest).to_be_hidden()
    expect(page.locator("#panel")).to_be_focused()
    wait_for_requests(page, held, 2)
    answer(held[1], "rose")
    assert names(page) == ["rose"]
    choose(page, photo_file, photo_file)
    wait_for_requests(page, held, 3)
    answer(held[2], "tulip")
    expect(best(page)).to_have_text("tulip")
    rest.click()
    expect(tiles(page)).to_have_text(["rose", "tulip"])
    assert names(page) == ["tulip"]


@IN_BOTH_BROWSERS
def test_all_photos_of_an_outage_are_tried_again(
    visit: Visit, bundled_service: str, photo_file: Path, tmp_path: Path
) -> None:
    page = visit(bundled_service)
    page.route("**/predict*", lambda route: route.abort())
    no_photo = tmp_path / "flower.pdf"
    no_photo.write_bytes(b"%PDF-1.7")
    choose(page, photo_file, no_photo, photo_file, photo_file)
    expect(tiles(page)).to_have_text([message("script.not_named")] * 4)
    retry = page.get_by_role("button", name=message("script.retry_all", count=3))
    expect(retry).to_be_visible()
    # They stay when another photo is chosen; the file that is no photo goes.
    choose(page, photo_file)
    expect(tiles(page)).to_have_count(4)
    page.locator(".tile").nth(1).click()
    page.unroute("**/predict*")
    respond_with(page, ("rose", 0.9))
    page.get_by_role("button", name=message("script.retry_all", count=4)).click()
    expect(tiles(page)).to_have_text(["rose"] * 4)
    assert names(page) == ["rose"]
    expect(page.locator(".tile").nth(1)).to_have_attribute("aria-current", "true")


def decoded_photos(page: Page) -> int:
    """Return how many photos the page keeps, on display or not."""
    session = page.context.new_cdp_session(page)
    prototype = session.send("Runtime.evaluate", {"expression": "HTMLImageElement.prototype"})[
        "result"
    ]["objectId"]
    objects = session.send("Runtime.queryObjects", {"prototypeObjectId": prototype})["objects"]
    count: int = session.send(
        "Runtime.callFunctionOn",
        {
            "objectId": objects["objectId"],
            "functionDeclaration": "function () {"
            " return this.filter((image) => image.src && image.matches('.photo')).length; }",
            "returnByValue": True,
        },
    )["result"]["value"]
    session.detach()
    return count


def test_old_photos_are_released_and_shown_again(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("rose", 0.9))
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        flower_image((100 + number, 80)).save(path)
    choose(page, *paths)
    expect(tiles(page)).to_have_text(["rose"] * len(paths))
    width = "photo => photo.decode().then(() => photo.naturalWidth)"
    for number in (*range(len(paths)), 0):
        page.locator(".tile").nth(number).click()
        assert page.locator(PHOTO).evaluate(width) == 100 + number
    assert 1 <= decoded_photos(page) <= MAX_DECODED


def test_the_memory_of_canceled_photos_is_released(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    page.evaluate(
        """() => {
            window.urls = new Set();
            const { createObjectURL, revokeObjectURL } = URL;
            URL.createObjectURL = (blob) => {
                const url = createObjectURL.call(URL, blob);
                window.urls.add(url);
                return url;
            };
            URL.revokeObjectURL = (url) => {
                window.urls.delete(url);
                revokeObjectURL.call(URL, url);
            };
        }"""
    )
    held = hold(page)
    choose(page, photo_file)
    wait_for_one(page, held)
    assert page.evaluate("urls.size") == 1
    cancel_button(page).click()
    assert page.evaluate("urls.size") == 0
