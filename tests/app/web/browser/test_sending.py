"""Choosing, dropping, pasting and sending photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import JSHandle, Page, Request, Route, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    PHOTO,
    WITH_AND_WITHOUT_SCRIPTS,
    choose,
    drop,
    drop_data,
    in_both_browsers,
    names,
    paste,
    predicted_by_api,
    respond_with,
    tiles,
    transfer,
    violations,
    wait_for_one,
)
from tests.app.web.conftest import message

pytestmark = pytest.mark.browser


@IN_BOTH_BROWSERS
@pytest.mark.parametrize("way", [drop, paste])
def test_a_dropped_or_pasted_photo_is_classified(
    visit: Visit, bundled_service: str, photo_file: Path, way: Callable[..., None]
) -> None:
    page = visit(bundled_service)
    way(page, photo_file)
    assert names(page) == predicted_by_api(bundled_service, photo_file)
    expect(page.locator(PHOTO)).to_be_visible()


@IN_BOTH_BROWSERS
def test_a_photo_chosen_before_the_scripts_load_is_classified(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    held: list[Route] = []
    page.route("**/queue.js", lambda route: held.append(route))
    page.reload(wait_until="commit")
    expect(page.locator("html.js")).to_be_attached()
    page.set_input_files("#file", photo_file)
    wait_for_one(page, held)
    held[0].continue_()
    assert len(names(page)) == 5


@in_both_browsers("way", [drop, choose], in_firefox=[choose])
def test_several_photos_are_classified_in_turn(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    text_file: Path,
    way: Callable[..., None],
) -> None:
    page = visit(bundled_service)
    at_once: list[int] = []
    under_way: set[Request] = set()

    def sent(request: Request) -> None:
        if request.method == "POST":
            under_way.add(request)
            at_once.append(len(under_way))

    page.on("request", sent)
    page.on("requestfinished", lambda item: under_way.discard(item))
    way(page, photo_file, text_file, photo_file)
    expected = predicted_by_api(bundled_service, photo_file)
    assert names(page) == expected
    named, not_named = message("verdict.unknown_flower"), message("script.not_named")
    expect(tiles(page)).to_have_text([named, not_named, named])
    expect(page.locator(".tile[aria-current]")).to_have_count(1)
    expect(page.locator("#status")).to_have_text(message("script.done"))
    assert at_once == [1, 1, 1]
    # The rejected file shows its problem until the next choice.
    page.locator(".tile", has_text=not_named).click()
    expect(page.get_by_role("alert")).to_contain_text("JPEG")
    choose(page, photo_file)
    expect(tiles(page)).to_have_text([named] * 3)


def test_the_upload_progress_is_shown(visit: Visit, bundled_service: str, tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.effect_noise((400, 400), 100).save(path)
    page = visit(bundled_service)
    # Record every value of the progress bar, because polling may miss some.
    page.evaluate(
        """() => {
            window.seen = [];
            const main = document.querySelector("main");
            const look = () => {
                const bar = main.querySelector("section.progress progress");
                if (bar) window.seen.push([bar.ariaLabel, bar.getAttribute("value")]);
            };
            const all = { subtree: true, childList: true, attributes: true };
            new MutationObserver(look).observe(main, all);
        }"""
    )
    network = page.context.new_cdp_session(page)
    network.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": path.stat().st_size,
        },
    )
    choose(page, path)
    assert len(names(page)) == 5
    seen = page.evaluate("window.seen")
    shares = [float(share) for _, share in seen if share is not None]
    assert shares == sorted(shares)
    assert any(0 < share < 1 for share in shares), shares
    assert seen[0] == [message("script.sending"), None]
    assert seen[-1] == [message("script.looking"), None]


@IN_BOTH_BROWSERS
def test_a_photo_over_a_result_shows_where_to_drop_it(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    choose(page, photo_file)
    names(page)
    page.dispatch_event("main", "dragover", {"dataTransfer": transfer(page, photo_file)})
    hint = page.get_by_text(message("page.drop_here"))
    expect(hint).to_be_visible()
    outline = page.locator(".drop-here").bounding_box()
    assert outline is not None
    assert (outline["width"], outline["height"]) == pytest.approx((1280, 800), abs=20)
    page.dispatch_event("main", "dragleave")
    expect(hint).to_be_hidden()


def dragged_picture(page: Page, *paths: Path) -> JSHandle:
    """Return a DataTransfer of a picture on another page, with or without its file."""
    data = transfer(page, *paths)
    data.evaluate("data => data.setData('text/uri-list', 'https://example.com/rose.jpg')")
    return data


@IN_BOTH_BROWSERS
def test_a_picture_of_another_page_is_classified_if_the_browser_gives_its_file(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("rose", 0.9))
    drop_data(page, dragged_picture(page, photo_file))
    assert names(page) == ["rose"]


@IN_BOTH_BROWSERS
def test_the_address_of_a_picture_does_not_replace_the_page(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("rose", 0.9))
    choose(page, photo_file)
    names(page)
    page.evaluate(
        """() => {
            window.prevented = [];
            for (const type of ["dragover", "drop"]) {
                window.addEventListener(type, (event) => prevented.push(event.defaultPrevented));
            }
        }"""
    )
    drop_data(page, dragged_picture(page))
    # The browser opens the address unless both events are handled.
    assert page.evaluate("prevented") == [True, True]
    expect(page.get_by_role("alert")).to_have_text(message("script.no_file"))
    assert names(page) == ["rose"]
    assert violations(page) == []
    choose(page, photo_file)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_photo_of_the_page_itself_is_not_sent_again(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("rose", 0.9))
    choose(page, photo_file)
    names(page)
    data = {"dataTransfer": transfer(page, photo_file)}
    page.dispatch_event(PHOTO, "dragstart", data)
    page.dispatch_event("footer", "dragover", data)
    expect(page.locator(".drop-here")).to_be_hidden()
    page.dispatch_event("footer", "drop", data)
    # The next drag may come from elsewhere, even if the end of this one was not noticed.
    page.hover(".brand")
    drop_data(page, transfer(page, photo_file))
    expect(tiles(page)).to_have_text(["rose"] * 2)


def test_names_are_escaped(visit: Visit, bundled_service: str, photo_file: Path) -> None:
    page = visit(bundled_service)
    name = "<img src=x onerror=alert(1)>"
    respond_with(page, (name, 0.9))
    choose(page, photo_file)
    assert names(page) == [name]
    expect(page.locator(".result img")).not_to_be_attached()


@IN_BOTH_BROWSERS
def test_a_click_on_the_drawing_opens_the_file_chooser(visit: Visit, bundled_service: str) -> None:
    page = visit(bundled_service)
    with page.expect_file_chooser():
        page.click(".plate")


@IN_BOTH_BROWSERS
def test_the_file_chooser_opens_by_keyboard(visit: Visit, bundled_service: str) -> None:
    page = visit(bundled_service)
    # Set the focus inside the block: Chromium needs a moment to report file choosers.
    with page.expect_file_chooser():
        page.get_by_role("link", name=message("nav.about")).focus()
        page.keyboard.press("Tab")
        expect(page.locator("#file")).to_be_focused()
        page.keyboard.press("Enter")


@WITH_AND_WITHOUT_SCRIPTS
def test_only_phones_have_a_camera_button(
    visit: Visit, bundled_service: str, javascript: bool
) -> None:
    phone = visit(bundled_service, javascript=javascript, phone=True)
    expect(phone.get_by_text(message("page.take"))).to_be_visible()
    expect(phone.locator("#camera")).to_have_attribute("capture", "environment")
    desktop = visit(bundled_service, javascript=javascript)
    expect(desktop.get_by_text(message("page.take"))).to_be_hidden()
