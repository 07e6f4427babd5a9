"""Accessibility of the page: WCAG, screen sizes, keyboard, page weight, stability."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.web.translations import message_catalogs
from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    DEVICES,
    IN_BOTH_BROWSERS,
    LONG_NAMES,
    PHOTO,
    SCROLL_WIDTH,
    choose,
    hold,
    names,
    resize,
    respond_with,
    settle,
    tiles,
    violations,
    wait_for_one,
)
from tests.app.web.conftest import OFFER_SCRIPT, SCRIPTS_ON_DEMAND, message
from tests.conftest import ROOT, flower_image

pytestmark = pytest.mark.browser

STATIC = ROOT / "app" / "web" / "static"
SCRIPTS = sorted(
    path
    for path in STATIC.glob("*.js")
    if path.name not in {"flower.js", "flowers.js", *SCRIPTS_ON_DEMAND}
)
MAX_COMPRESSED_BYTES = 60_000
MAX_UNCOMPRESSED_BYTES = 155_000


def test_no_state_of_the_page_breaks_wcag(
    visit: Visit, bundled_service: str, photo_file: Path, text_file: Path
) -> None:
    page = visit(bundled_service)
    assert violations(page) == []
    # A figure's name would be the words of all controls below the photo.
    expect(page.get_by_role("figure")).to_have_count(0)
    choose(page, text_file)
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations(page) == []
    choose(page, photo_file, text_file)
    names(page)
    expect(tiles(page).last).to_have_text(message("script.not_named"))
    page.get_by_label(message("page.explain")).check()
    assert violations(page) == []
    hold(page)
    choose(page, photo_file)
    expect(page.get_by_role("progressbar")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("language", ["en", "de"])
def test_no_other_page_breaks_wcag(visit: Visit, bundled_service: str, language: str) -> None:
    page = visit(bundled_service, language=language)
    for path in (
        "flowers",
        "flowers?q=daisies&colour=white",
        "flowers/9-monkshood",
        "flowers/67-spring-crocus",
        "about",
        "about/model",
        "docs",
        "nothing/here",
    ):
        page.goto(f"{bundled_service}{path}")
        for details in page.locator("details").all():
            details.locator("summary").click()
        assert violations(page) == [], path


@pytest.mark.parametrize("blocked", ["page.js", "queue.js"])
def test_no_result_without_scripts_breaks_wcag(
    visit: Visit, bundled_service: str, photo_file: Path, blocked: str
) -> None:
    page = visit(bundled_service, phone=True)
    # axe-core needs JavaScript, so only the page's own scripts are blocked.
    page.route(f"**/{blocked}", lambda route: route.abort())
    page.reload()
    expect(page.locator("html.js")).not_to_be_attached()
    choose(page, photo_file)
    names(page)
    page.get_by_label(message("page.explain")).check()
    assert violations(page) == []


@DEVICES
def test_nothing_is_wider_than_the_screen(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    text_file: Path,
    phone: bool,
    widths: list[int],
) -> None:
    page = visit(bundled_service, phone=phone)

    def too_wide() -> list[int]:
        found = []
        for width in widths:
            resize(page, width)
            if page.evaluate(SCROLL_WIDTH) > width:
                found.append(width)
        return found

    assert too_wide() == []
    choose(page, text_file)
    expect(page.get_by_role("alert")).to_be_visible()
    assert too_wide() == []
    respond_with(page, *((name, 0.3) for name in LONG_NAMES))
    choose(page, *[photo_file] * 4)
    names(page)
    expect(tiles(page)).to_have_text([LONG_NAMES[0]] * 4)
    assert too_wide() == []


@pytest.mark.parametrize("size", [(16, 16), (1200, 40), (40, 1200), (2000, 3000)])
def test_photos_of_any_aspect_ratio_are_shown_completely(
    visit: Visit, bundled_service: str, tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "photo.jpg"
    flower_image(size).save(path)
    page = visit(bundled_service)
    choose(page, path)
    names(page)
    settle(page)
    seen = page.locator(PHOTO).bounding_box()
    panel = page.locator(".panel").bounding_box()
    assert seen is not None
    assert panel is not None
    assert seen["x"] >= 0
    assert seen["x"] + seen["width"] <= panel["x"]
    assert page.evaluate("document.documentElement.scrollHeight") == 800
    page.get_by_label(message("page.explain")).check()
    assert page.locator("img.map:visible").bounding_box() == pytest.approx(seen, abs=1)


def test_the_drawing_and_the_list_of_photos_fit_on_the_screen(
    visit: Visit, bundled_service: str, photo_file: Path, text_file: Path
) -> None:
    page = visit(bundled_service)
    choose(page, photo_file)
    names(page)
    choose(page, text_file)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator(".plate")).to_be_visible()
    expect(page.locator(".tile")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollHeight") == 800


@IN_BOTH_BROWSERS
def test_every_control_is_reachable_by_keyboard(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    choose(page, photo_file, photo_file)
    names(page)
    # Until both are classified, there is also a Cancel button.
    expect(page.locator("#status")).to_have_text(message("script.done"))
    # A selected tile keeps the focus.
    first = page.locator(".tile").first
    page.locator(".tile").last.click()
    first.focus()
    page.keyboard.press("Enter")
    expect(first).to_have_attribute("aria-current", "true")
    expect(first).to_be_focused()
    page.get_by_label(message("page.explain")).check()
    page.focus(".masthead nav a:last-child")
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        # The focused element, and whether its focus ring is visible.
        found, ring = page.evaluate(
            """() => {
                const on = document.activeElement;
                const ringed = on.matches(".picker input") ? on.nextElementSibling : on;
                const { outlineStyle, outlineWidth } = getComputedStyle(ringed);
                return [on.type || on.className || on.tagName,
                        outlineStyle !== "none" && parseFloat(outlineWidth) >= 2];
            }"""
        )
        if found == "BODY":
            break
        assert ring, found
        seen.append(found)
    # The heat map, the part of the photo, the names, the correction and the menu.
    assert seen[:12] == ["checkbox", "button", "radio", *["name"] * 5, *["button"] * 3, "SUMMARY"]
    # The file input, combine, keeping and removing, two tiles.
    assert seen[12:19] == ["file", "button", "checkbox", *["button"] * 4]
    assert seen[19:] == ["A"] * (2 + len(message_catalogs()))  # the footer


@pytest.mark.parametrize("language", sorted(message_catalogs()))
@pytest.mark.parametrize(
    ("encoding", "limit"),
    [
        *((encoding, MAX_COMPRESSED_BYTES) for encoding in ("gzip", "br", "zstd")),
        ("identity", MAX_UNCOMPRESSED_BYTES),
    ],
)
def test_the_page_weight_is_limited(
    bundled_service: str, encoding: str, limit: int, language: str
) -> None:
    files = ("print.css", "icon.svg", OFFER_SCRIPT, *(path.name for path in SCRIPTS))
    page = ("", "style.css", *(f"static/{name}" for name in files))
    # The browser fetches these in the background.
    background = ("manifest.webmanifest", "service-worker.js", "offline")
    headers = {
        "Accept": "text/html,*/*;q=0.8",
        "Accept-Encoding": encoding,
        "Accept-Language": language,
    }
    sizes = {}
    for path in (*page, *background):
        request = urllib.request.Request(f"{bundled_service}{path}", headers=headers)
        with urllib.request.urlopen(request) as response:
            sizes[path] = len(response.read())
    assert sum(sizes.values()) <= limit, sizes


LOADS = """(name) => performance.getEntriesByType("resource")
    .some((entry) => entry.name.endsWith(`/static/${name}`))"""


def loads(page: Page, name: str) -> bool:
    """Return True if the page has loaded a script."""
    return bool(page.evaluate(LOADS, name))


def test_the_start_page_loads_no_script_that_it_does_not_need(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    page.wait_for_load_state("networkidle")
    assert [name for name in SCRIPTS_ON_DEMAND if loads(page, name)] == []
    choose(page, photo_file)
    names(page)
    # The correction, the menu and the selection of a part appear with the result.
    expect(page.locator(".correction")).to_be_visible()
    expect(page.locator(".menu")).to_be_visible()
    expect(page.locator(".part")).to_be_visible()
    assert loads(page, "result_controls.js")
    assert not loads(page, "share_picture.js")
    page.locator(".menu summary").click()
    page.wait_for_function(LOADS, arg="share_picture.js")


def test_a_result_is_shown_without_the_scripts_of_its_controls(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    page.route("**/result_controls.js", lambda route: route.abort())
    respond_with(page, ("rose", 0.9))
    choose(page, photo_file)
    assert names(page) == ["rose"]


@pytest.mark.parametrize("count", [1, 2], ids=["one photo", "two photos"])
@pytest.mark.parametrize("size", [(1280, 800), (820, 1180), (390, 844), (320, 568), (568, 320)])
def test_an_open_menu_covers_no_control(
    visit: Visit, bundled_service: str, photo_file: Path, size: tuple[int, int], count: int
) -> None:
    page = visit(bundled_service)
    resize(page, *size)
    respond_with(page, ("rose", 0.9))
    choose(page, *[photo_file] * count)
    expect(tiles(page)).to_have_text(["rose"] * count)
    summary = page.locator(".menu summary")
    summary.scroll_into_view_if_needed()
    before = summary.bounding_box()
    summary.click()
    expect(page.locator("[data-action=json]")).to_be_visible()
    # The bar of buttons sticks to the bottom of a phone's screen, also above what follows.
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    covered = page.evaluate(
        """() => {
            const menu = document.querySelector(".menu > div").getBoundingClientRect();
            const controls = document.querySelectorAll("a, button, label, summary");
            return [...controls].filter((control) => {
                const box = control.getBoundingClientRect();
                return box.width > 0 && !control.closest(".menu")
                    && box.left < menu.right && menu.left < box.right
                    && box.top < menu.bottom && menu.top < box.bottom;
            }).map((control) => control.outerHTML);
        }"""
    )
    assert covered == []
    assert before is not None
    after = summary.bounding_box()
    assert after is not None
    assert after["x"] == pytest.approx(before["x"], abs=1)
    assert violations(page) == []


@DEVICES
@pytest.mark.parametrize("language", sorted(message_catalogs()))
def test_the_links_of_the_footer_are_large_enough(
    visit: Visit, bundled_service: str, phone: bool, widths: list[int], language: str
) -> None:
    page = visit(bundled_service, phone=phone, language=language)
    for width in widths:
        resize(page, width)
        sizes = page.locator(".colophon a").evaluate_all(
            "all => all.map((link) => [link.offsetWidth, link.offsetHeight])"
        )
        assert min(min(size) for size in sizes) >= 24, (width, sizes)


def moved(page: Page) -> Any:
    """Return the layout shifts since the last call, once everything is drawn."""
    settle(page)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate("() => { record(observer.takeRecords()); return shifts.splice(0); }")


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_loading_and_results_cause_no_layout_shift(
    visit: Visit, bundled_service: str, photo_file: Path, phone: bool
) -> None:
    page = visit(bundled_service, phone=phone)
    page.evaluate(
        """() => {
            window.shifts = [];
            window.record = (entries) => {
                for (const { value, sources } of entries) {
                    const moved = [...sources].map(({ node }) => node?.className || node?.nodeName);
                    shifts.push([value, ...moved]);
                }
            };
            window.observer = new PerformanceObserver((list) => record(list.getEntries()));
            observer.observe({ type: "layout-shift", buffered: true });
        }"""
    )
    assert moved(page) == []
    # Choosing a photo may shift the layout once; the result must not.
    held = hold(page)
    choose(page, photo_file)
    expect(page.locator(PHOTO)).to_be_visible()
    wait_for_one(page, held)
    moved(page)
    for route in held:
        route.continue_()
    names(page)
    expect(page.get_by_label(message("page.explain"))).to_be_visible()
    # A result that is taller than the window pushes the footer down, and nothing else.
    assert [shift for shift in moved(page) if shift[1:] != ["colophon"]] == []


def test_forced_colors_show_which_photo_is_on_display(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    page.emulate_media(forced_colors="active")
    respond_with(page, ("rose", 0.9))
    choose(page, photo_file, photo_file)
    expect(page.locator(".tile:not(.waiting) .label")).to_have_text(["rose"] * 2)
    outlines = page.locator(".tile").evaluate_all(
        "all => all.map((tile) => getComputedStyle(tile).outlineStyle)"
    )
    assert outlines == ["solid", "none"]
