"""The flower pages and the API documentation, with and without JavaScript."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    DEVICES,
    IN_BOTH_BROWSERS,
    SCROLL_WIDTH,
    fake_result,
    resize,
)
from tests.app.web.conftest import message

pytestmark = pytest.mark.browser

ROWS = ".list li:visible"
EUROPEAN = ("", "dahlia", "dahila", "daisies", "Rosen", "amaryllidaceae", "Colt’s", "x_y", "Löwen")
QUERIES = {
    "en-GB": EUROPEAN,
    "de-DE": EUROPEAN,
    "fr-FR": ("oeillet", "ancolies"),
    "zh-CN": ("菊", "睡莲科", "ROSA"),
}


def rows(page: Page) -> list[str]:
    return page.locator(f"{ROWS} a").all_text_contents()


@pytest.mark.parametrize("language", QUERIES)
def test_script_and_server_find_the_same_flowers(
    visit: Visit, bundled_service: str, language: str
) -> None:
    typed = visit(f"{bundled_service}flowers", language=language)
    served = visit(f"{bundled_service}flowers", javascript=False, language=language)
    for query in QUERIES[language]:
        field = typed.get_by_role("searchbox")
        field.fill("z")
        field.fill(query)
        served.get_by_role("searchbox").fill(query)
        # The field has this value before the navigation too, so it proves nothing.
        with served.expect_navigation():
            served.get_by_role("search").get_by_role("button").click()
        expect(served.get_by_role("searchbox")).to_have_value(query)
        # The script may ask the server.
        expect(typed.locator(f"{ROWS} a")).to_have_text(rows(served))
        counts = [page.locator(".count").text_content() for page in (typed, served)]
        assert counts[0] == counts[1], query
        # The URL contains the query.
        typed.reload()
        assert rows(typed) == rows(served), query


def test_the_filters_of_script_and_server_agree(visit: Visit, bundled_service: str) -> None:
    page = visit(f"{bundled_service}flowers")
    page.get_by_label(message("flowers.family")).select_option("Asteraceae")
    page.get_by_label(message("flowers.colour")).select_option(message("colours.white"))
    served = visit(page.url, javascript=False)
    assert "family=Asteraceae" in page.url
    assert rows(page) == rows(served) != []
    letters = [item.locator(".letters a:visible").all_text_contents() for item in (page, served)]
    assert letters[0] == letters[1] != []
    page.get_by_role("searchbox").fill("daisy")
    assert rows(page) == ["Oxeye daisy"]


@pytest.mark.parametrize("javascript", [True, False])
def test_the_way_back_to_the_photo(
    visit: Visit, bundled_service: str, photo_file: Path, javascript: bool
) -> None:
    page = visit(bundled_service, javascript=javascript)
    back = page.get_by_role("link", name=message("flowers.back_to_photo"))
    if javascript:
        page.set_input_files("#file", photo_file)
        page.locator(".prediction .name").first.click()
        back.click()
        # Playwright turns off the cache from which browsers restore the photos.
        expect(page).to_have_url(bundled_service)
    page.goto(f"{bundled_service}flowers/9-monkshood")
    expect(page.get_by_role("heading", name="Monkshood")).to_be_visible()
    expect(back).to_be_hidden()  # there is no photo to go back to


@IN_BOTH_BROWSERS
def test_the_way_back_to_the_photo_by_way_of_another_flower(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    page.goto(f"{bundled_service}flowers/9-monkshood")
    back = page.get_by_role("link", name=message("flowers.back_to_photo"))
    expect(back).to_be_hidden()
    page.goto(bundled_service)
    result = fake_result(("Monkshood", 0.9))
    result["predictions"][0]["url"] = "/flowers/9-monkshood"
    page.route("**/predict*", lambda route: route.fulfill(json=result))
    page.set_input_files("#file", photo_file)
    page.get_by_role("link", name="Monkshood").click()
    page.locator(".look-alikes a").first.click()
    expect(page).not_to_have_url(re.compile("monkshood"))
    back.click()
    expect(page).to_have_url(bundled_service)


@pytest.mark.parametrize("language", ["en", "de"])
def test_script_and_server_give_the_same_warning(
    visit: Visit, bundled_service: str, photo_file: Path, language: str
) -> None:
    warnings = []
    for javascript in (True, False):
        page = visit(bundled_service, javascript=javascript, language=language)
        page.set_input_files("#file", photo_file)
        if not javascript:
            page.locator(".picker:has(#file) button").click()
        expect(page.locator(".result .prediction")).to_have_count(5)
        warning = page.locator(".result .warning")
        warnings.append(" ".join(warning.inner_text().split()) if warning.count() else "")
    assert warnings[0] == warnings[1]
    assert message("toxicity.advice", language) in warnings[0]


@IN_BOTH_BROWSERS
def test_a_flower_is_found_and_opened_by_keyboard(visit: Visit, bundled_service: str) -> None:
    page = visit(f"{bundled_service}flowers")
    page.get_by_label(message("flowers.find")).focus()
    page.keyboard.type("alstro")
    expect(page.locator(ROWS)).to_have_count(1)
    page.keyboard.press("Enter")  # filters, and stays
    for _ in range(5):  # the button, the two filters and the letter come first
        page.keyboard.press("Tab")
    expect(page.locator(f"{ROWS} a")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/flowers/18-peruvian-lily$"))
    expect(page.get_by_role("heading", name="Peruvian lily")).to_be_visible()
    page.go_back()
    expect(page.locator(ROWS)).to_have_count(1)


@DEVICES
def test_no_page_is_wider_than_the_screen(
    visit: Visit, bundled_service: str, phone: bool, widths: list[int]
) -> None:
    page = visit(bundled_service, phone=phone)
    for path in (
        "flowers",
        "flowers/27-prince-of-wales-feathers",
        "flowers/56-bishop-of-llandaff",
        "docs",
    ):
        page.goto(f"{bundled_service}{path}")
        expect(page.get_by_role("heading").first).to_be_visible()
        for width in widths:
            resize(page, width)
            assert page.evaluate(SCROLL_WIDTH) <= width, path
