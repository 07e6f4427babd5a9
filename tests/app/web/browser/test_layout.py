"""The page on screens of every shape, at large text and on paper, and the switch of languages."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from app.web.translations import message_catalogs
from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    PHOTO,
    SCROLL_WIDTH,
    WITH_AND_WITHOUT_SCRIPTS,
    best,
    choose,
    fake_result,
    in_both_browsers,
    names,
    resize,
    respond_with,
    settle,
    violations,
)
from tests.app.web.conftest import message

pytestmark = pytest.mark.browser

LANGUAGES = sorted(message_catalogs())
PATHS = (
    "",
    "flowers",
    "flowers/56-bishop-of-llandaff",
    "about",
    "about/model",
    "docs",
    "nothing",
    "offline",
)
# Width and height in CSS pixels, and whether the buttons form a bar at the bottom.
SCREENS = {
    "small phone": ((320, 568), True),
    "phone": ((390, 844), True),
    "landscape phone": ((740, 360), True),
    "small landscape phone": ((568, 320), True),
    "portrait tablet": ((820, 1180), False),
    "desktop at 200 %": ((640, 400), True),
    "desktop at 400 %": ((320, 256), True),
    "desktop": ((1440, 900), False),
}
BUTTONS = ".picker .button:visible"


def box(locator: Locator) -> dict[str, float]:
    """Return the box of an element, relative to the viewport."""
    found = locator.bounding_box()
    assert found is not None
    x, y, width, height = found["x"], found["y"], found["width"], found["height"]
    return {
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "right": x + width,
        "bottom": y + height,
    }


def enlarge_text(page: Page) -> None:
    """Double the text size of the browser's settings, on which rem in media queries depends too."""
    session = page.context.new_cdp_session(page)
    session.send("Page.setFontSizes", {"fontSizes": {"standard": 32, "fixed": 26}})
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).fontSize") == "32px"


def assert_buttons_in_view(page: Page, height: int) -> None:
    assert page.evaluate("window.scrollY") == 0
    buttons = page.locator(BUTTONS)
    assert buttons.count() in (1, 2)
    for index in range(buttons.count()):
        button = box(buttons.nth(index))
        assert button["y"] >= 0
        assert button["bottom"] <= height
        assert button["height"] >= 44


@in_both_browsers("phone,language", product([True, False], LANGUAGES), in_firefox=[(False, "de")])
def test_the_buttons_are_in_view_without_scrolling(
    visit: Visit, bundled_service: str, phone: bool, language: str
) -> None:
    page = visit(bundled_service, phone=phone, language=language)
    for (width, height), is_bar in SCREENS.values():
        resize(page, width, height)
        assert_buttons_in_view(page, height)
        is_sticky = page.locator(".pickers").evaluate("e => getComputedStyle(e).position")
        assert (is_sticky == "sticky") == is_bar
        # The bar does not cover the question.
        question = box(page.get_by_role("heading", level=1))
        if height > 300:
            assert question["bottom"] <= box(page.locator(".pickers"))["y"]


@pytest.mark.parametrize(
    ("phone", "sizes"),
    [(True, [(320, 568), (390, 844), (820, 1180)]), (False, [(1280, 800)])],
    ids=["touch", "mouse"],
)
@pytest.mark.parametrize("language", ["en", "de"])
def test_the_buttons_are_in_view_at_twice_the_text_size(
    visit: Visit, bundled_service: str, phone: bool, sizes: list[tuple[int, int]], language: str
) -> None:
    page = visit(bundled_service, phone=phone, language=language)
    enlarge_text(page)
    for width, height in sizes:
        resize(page, width, height)
        assert_buttons_in_view(page, height)
        assert page.evaluate(SCROLL_WIDTH) <= width


def test_the_bar_stays_and_does_not_cover_what_has_the_focus(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service, phone=True, width=320)
    height = 568
    resize(page, 320, height)
    expect(page.get_by_text(message("page.another"), exact=True)).to_be_hidden()
    respond_with(page, *((f"name {number}", 0.2) for number in range(5)))
    choose(page, photo_file)
    names(page)
    bar = page.locator(".pickers")
    expect(page.get_by_text(message("page.another"), exact=True)).to_be_visible()
    expect(page.get_by_text(message("page.choose"), exact=True)).to_be_hidden()
    assert box(bar)["bottom"] == pytest.approx(height, abs=1)
    page.focus(".brand")
    seen = 0
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if not focused.count() or focused.evaluate("e => e === document.body"):
            break
        if bar.locator(":focus").count():
            continue
        seen += 1
        assert box(focused)["bottom"] <= box(bar)["y"] or box(focused)["y"] >= box(bar)["bottom"]
    assert seen > 10
    # The bar does not cover the footer.
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert box(bar)["bottom"] <= box(page.locator(".colophon"))["y"] + 1


def test_a_desktop_offers_another_photo_too(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    choose(page, photo_file)
    names(page)
    expect(page.get_by_text(message("page.another"), exact=True)).to_be_visible()
    assert page.locator("#file").evaluate("file => file.labels[0].innerText") == message(
        "page.another"
    )


@pytest.mark.parametrize(
    ("size", "columns"),
    [((390, 844), 1), ((820, 1180), 1), ((740, 360), 2), ((1280, 800), 2), ((1440, 900), 2)],
)
def test_the_names_are_beside_the_photo_on_landscape_screens_only(
    visit: Visit, bundled_service: str, photo_file: Path, size: tuple[int, int], columns: int
) -> None:
    page = visit(bundled_service, phone=size[0] < 1000)
    resize(page, *size)
    choose(page, photo_file)
    names(page)
    settle(page)
    photo, panel = box(page.locator(PHOTO)), box(page.locator(".panel"))
    if columns == 1:
        assert photo["bottom"] <= panel["y"]
    else:
        assert photo["right"] <= panel["x"]
    # The photo is in view, whatever the length of the text beside it.
    assert photo["y"] >= 0
    assert photo["bottom"] <= size[1]
    if size[1] < 400:
        assert photo["y"] < 80
    assert page.evaluate(SCROLL_WIDTH) <= size[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_scrolls_sideways_on_the_smallest_phone(
    visit: Visit, bundled_service: str, language: str
) -> None:
    page = visit(bundled_service, phone=True, width=320, language=language)
    for path in PATHS:
        page.goto(f"{bundled_service}{path}")
        assert page.evaluate(SCROLL_WIDTH) <= 320, path
        # The sections fit beside the logo.
        assert box(page.locator(".masthead"))["height"] < 80, path
    enlarge_text(page)
    for path in PATHS:
        page.goto(f"{bundled_service}{path}")
        assert page.evaluate(SCROLL_WIDTH) <= 320, path


@IN_BOTH_BROWSERS
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_language_breaks_wcag(
    visit: Visit, bundled_service: str, photo_file: Path, browser_name: str, language: str
) -> None:
    page = visit(bundled_service, phone=True, language=language)
    assert page.locator("html").get_attribute("lang") == language
    assert violations(page) == []
    choose(page, photo_file)
    names(page)
    assert violations(page) == []
    # The other pages have the same components, and axe-core takes a second for each.
    for path in PATHS[1:] if browser_name == "chromium" else ():
        page.goto(f"{bundled_service}{path}")
        assert violations(page) == [], path


@WITH_AND_WITHOUT_SCRIPTS
def test_the_chosen_language_is_remembered(
    visit: Visit, bundled_service: str, javascript: bool
) -> None:
    page = visit(f"{bundled_service}flowers?q=dahlia", javascript=javascript)
    page.get_by_role("link", name="Deutsch", exact=True).click()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("searchbox")).to_have_value("dahlia")
    page.get_by_role("link", name=message("nav.identify", "de")).click()
    expect(page.get_by_role("heading", name=message("page.question", "de"))).to_be_visible()
    expect(page.get_by_role("link", name="Deutsch")).to_have_attribute("aria-current", "true")
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["value"]) == ("language", "de")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    page.get_by_role("link", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_names_look_tappable_on_touch_screens_only(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    looks = {}
    for phone in (True, False):
        page = visit(bundled_service, phone=phone)
        respond_with(page, ("rose", 0.9), ("lily", 0.1))
        choose(page, photo_file)
        names(page)
        looks[phone] = page.locator(".name").last.evaluate(
            """name => {
                const { textDecorationColor } = getComputedStyle(name);
                return [textDecorationColor, getComputedStyle(name, "::after").content];
            }"""
        )
        if phone:
            for index in range(2):
                assert box(page.locator(".name").nth(index))["height"] >= 44
    assert looks[True][0] != looks[False][0] == "rgba(0, 0, 0, 0)"
    assert "›" in looks[True][1]
    assert "›" not in looks[False][1]


def mark_of(link: Locator) -> str:
    found: str = link.evaluate("link => getComputedStyle(link, '::after').content")
    return found


def test_links_to_other_websites_are_marked(visit: Visit, bundled_service: str) -> None:
    page = visit(f"{bundled_service}flowers/56-bishop-of-llandaff")
    links = page.locator("main a[href^='https:']")
    assert links.count() >= 2
    for index in range(links.count()):
        assert "↗" in mark_of(links.nth(index))
    assert "↗" not in mark_of(page.locator(".masthead nav a").first)


def lines_of(element: Locator) -> list[str]:
    """Return the text of each line of an element, without soft hyphens."""
    lines: list[str] = element.evaluate(
        """element => {
            const text = element.firstChild;
            const lines = [];
            let top = null;
            for (let index = 0; index < text.length; index += 1) {
                const range = document.createRange();
                range.setStart(text, index);
                range.setEnd(text, index + 1);
                // After a soft hyphen, the first one is that of the hyphen.
                const rect = [...range.getClientRects()].at(-1);
                if (!rect?.width || text.data[index] === "\u00ad") continue;
                if (top === null || Math.abs(rect.top - top) > 4) lines.push("");
                top = rect.top;
                lines[lines.length - 1] += text.data[index];
            }
            return lines.map((line) => line.replaceAll("\\u00ad", ""));
        }"""
    )
    return lines


@pytest.mark.parametrize("javascript", [True, False])
def test_long_german_names_break_between_their_parts_only(
    visit: Visit, bundled_service: str, photo_file: Path, javascript: bool
) -> None:
    page = visit(
        f"{bundled_service}flowers/8-bird-of-paradise",
        language="de-DE",
        javascript=javascript,
        phone=True,
    )
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Paradies\xadvogel\xadblume")
    assert lines_of(heading) == ["Paradiesvogelblume"]
    heading.evaluate("heading => { heading.style.inlineSize = '7em'; }")
    assert lines_of(heading) in (["Paradies", "vogelblume"], ["Paradiesvogel", "blume"])
    if not javascript:
        return
    page.goto(bundled_service)
    result = fake_result(("Bird of paradise", 0.9))
    result["predictions"][0]["translations"] = {"de": {"display_name": "Paradiesvogelblume"}}
    page.route("**/predict*", lambda route: route.fulfill(json=result))
    choose(page, *[photo_file] * 2)
    expect(best(page)).to_have_text("Paradies\xadvogel\xadblume")
    assert page.title() == "Paradiesvogelblume · Petalscope"
    resize(page, 390)
    assert lines_of(best(page)) == ["Paradiesvogelblume"]


CONTROLS = (
    ".masthead nav",
    ".colophon",
    ".pickers",
    ".menu",
    ".entries",
    ".explain",
    ".limits",
    "button",
    "form",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_printed_result_has_the_photo_and_the_names_without_controls(
    visit: Visit, bundled_service: str, photo_file: Path, scheme: str
) -> None:
    page = visit(bundled_service)
    respond_with(page, *((f"name {number}", 0.2) for number in range(5)))
    choose(page, *[photo_file] * 2)
    names(page)
    expect(page.locator(".entries")).to_be_visible()
    page.emulate_media(media="print", color_scheme="dark" if scheme == "dark" else "light")
    for selector in CONTROLS:
        expect(page.locator(f"{selector}:visible")).to_have_count(0)
    expect(page.locator(PHOTO)).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    for index in range(5):
        expect(page.locator(".name").nth(index)).to_be_visible()
    colours = page.evaluate(
        """() => {
            const body = getComputedStyle(document.body);
            return [body.backgroundColor, body.color];
        }"""
    )
    assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert mark_of(page.locator(".wikipedia")) == "none"


def test_a_printed_flower_has_its_text_and_no_links_to_other_pages(
    visit: Visit, bundled_service: str
) -> None:
    page = visit(f"{bundled_service}flowers/9-monkshood")
    page.emulate_media(media="print")
    for selector in (".masthead nav", ".colophon", ".kicker", ".button"):
        expect(page.locator(f"{selector}:visible")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".toxicity")).to_be_visible()
    shown = page.locator("main").inner_text()
    assert not re.search(r"https?://", shown)


def test_the_page_about_the_model_opens_from_the_footer(visit: Visit, bundled_service: str) -> None:
    page = visit(bundled_service)
    page.get_by_role("link", name=message("model.title")).click()
    expect(page).to_have_url(re.compile("/about/model$"))
    expect(page.get_by_role("heading", name=message("model.title"))).to_be_visible()
    expect(page.get_by_text(message("model.top1")).first).to_be_visible()
    page.get_by_role("link", name=message("model.card")).click()
    expect(page.locator("body")).to_contain_text("Model card")
