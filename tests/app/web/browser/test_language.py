"""Every state of the German page, with and without JavaScript."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.web.translations import ENGLISH, message_catalogs
from model.imaging.formats import FORMAT_NAMES
from tests.app.conftest import encoded
from tests.app.web.browser.conftest import MAX_BODY_MIB, Visit
from tests.app.web.browser.page import (
    DEVICES,
    LONG_NAMES,
    SCROLL_WIDTH,
    WITH_AND_WITHOUT_SCRIPTS,
    choose,
    copied_as,
    fake_result,
    hold,
    names,
    resize,
    respond_with,
    tiles,
    violations,
    wait_for_one,
)
from tests.app.web.conftest import message

pytestmark = pytest.mark.browser

GERMAN = "de-DE"
FORMATS = FORMAT_NAMES.replace(" or ", message("language.or", "de"))
PLACEHOLDER = re.compile(r"{\w*}")


def english_on(page: Page) -> list[str]:
    """Return the English messages in the page's markup that German translates differently."""
    english, german = message_catalogs()[ENGLISH], message_catalogs()["de"]
    # data-texts holds every message of the script.
    markup = re.sub(r' data-texts="[^"]*"', "", page.content())
    # English names are marked as such, and the searched names are not displayed.
    names_of_flowers = re.compile(r'<(span|a)[^>]* (lang="en"|hidden="")[^>]*>[^<]*</\1>')
    markup = html.unescape(names_of_flowers.sub("", markup))
    found = []
    for key, copy in english.items():
        parts = [re.escape(part) for part in PLACEHOLDER.split(copy)]
        whole = re.compile(rf">\s*{'[^<]*'.join(parts)}\s*<")
        if not key.startswith("language.") and copy != german[key] and whole.search(markup):
            found.append(copy)
    return found


@WITH_AND_WITHOUT_SCRIPTS
def test_no_english_is_left_on_a_german_page(
    visit: Visit, bundled_service: str, photo_file: Path, text_file: Path, javascript: bool
) -> None:
    page = visit(bundled_service, language=GERMAN, javascript=javascript)
    expect(page.get_by_role("heading", name=message("page.question", "de"))).to_be_visible()
    assert english_on(page) == []
    choose(page, text_file)
    expect(page.get_by_role("alert")).to_contain_text(FORMATS)
    assert english_on(page) == []
    choose(page, photo_file)
    names(page)
    name = page.locator(".prediction:has(.english) .name").first
    expect(name).to_have_attribute("lang", "de")
    expect(page.locator(".english").first).to_have_attribute("lang", ENGLISH)
    assert english_on(page) == []
    for path in (
        "flowers", "flowers?q=lily", "flowers/1-pink-primrose", "about", "about/model", "nothing",
        "offline",
    ):  # fmt: skip
        page.goto(f"{bundled_service}{path}")
        assert page.locator("html").get_attribute("lang") == "de"
        assert english_on(page) == []


def test_leftover_english_is_detected(visit: Visit, bundled_service: str) -> None:
    page = visit(bundled_service)
    assert message("page.choose") in english_on(page)
    assert message("page.cancel_rest") in english_on(page)


@WITH_AND_WITHOUT_SCRIPTS
def test_problems_are_german(
    visit: Visit, bundled_service: str, tmp_path: Path, javascript: bool
) -> None:
    page = visit(bundled_service, language=GERMAN, javascript=javascript)
    for name, data, text in (
        ("cut.jpg", encoded()[:2000], message("details.damaged_photo", "de")),
        ("empty.jpg", b"", message("details.empty_photo", "de")),
        ("small.png", encoded("PNG", (40, 8)), message("details.too_small", "de", side=16)),
        ("large.jpg", b"\xff\xd8\xff" + bytes(MAX_BODY_MIB * 2**20), f"{MAX_BODY_MIB}\xa0MiB"),
    ):
        (tmp_path / name).write_bytes(data)
        choose(page, tmp_path / name)
        expect(page.get_by_role("alert")).to_contain_text(text)
    assert page.title() == f"{page.get_by_role('heading').first.inner_text()} · Petalscope".replace(
        "\n", " "
    )


def test_messages_of_the_scripts_are_german(
    visit: Visit, bundled_service: str, photo_file: Path, tmp_path: Path
) -> None:
    page = visit(bundled_service, language=GERMAN)
    pdf = tmp_path / "flower.pdf"
    pdf.write_bytes(b"%PDF-1.7" + bytes(200))
    choose(page, pdf)
    expect(page.get_by_role("alert")).to_contain_text(message("script.pdf", "de"))
    held = hold(page)
    choose(page, photo_file)
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-label", re.compile("Foto"))
    wait_for_one(page, held)
    held[0].fulfill(status=429, json={"code": "overloaded", "detail": "All places are taken."})
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(message("details.overloaded", "de"))
    page.unroute("**/predict*")
    page.route("**/predict*", lambda route: route.abort())
    page.get_by_role("button", name=message("page.retry", "de")).click()
    expect(alert).to_contain_text(message("offline.title", "de"))
    page.unroute("**/predict*")
    respond_with(page, ("Rose", 0.731))
    page.get_by_role("button", name=message("page.retry", "de")).click()
    assert names(page) == ["Rose"]
    most_likely = message("verdict.most_likely", "de")
    expect(page.locator("#status")).to_have_text(f"{most_likely}: Rose, 73,1\xa0%")
    assert copied_as(page, "text", "de") == f"{most_likely}\nRose: 73,1\xa0%"


def test_no_german_state_breaks_wcag_or_is_wider_than_a_small_phone(
    visit: Visit, bundled_service: str, photo_file: Path, text_file: Path
) -> None:
    page = visit(bundled_service, language=GERMAN, phone=True, width=320)

    def is_fine() -> bool:
        assert page.evaluate(SCROLL_WIDTH) <= 320
        assert violations(page) == []
        return True

    assert is_fine()
    choose(page, text_file)
    expect(page.get_by_role("alert")).to_be_visible()
    assert is_fine()
    respond_with(page, *((name, 0.3) for name in LONG_NAMES))
    choose(page, *[photo_file] * 3)
    page.get_by_role("button", name=message("page.combine", "de")).click()
    assert is_fine()
    page.get_by_role("button", name=message("script.combine_now", "de", count=3)).click()
    expect(page.locator(".tile .of").last).to_have_text(message("script.combined", "de", count=3))
    names(page)
    assert is_fine()
    for path in ("flowers", "flowers/1-pink-primrose", "nothing", "offline"):
        page.goto(f"{bundled_service}{path}")
        assert is_fine()


def respond_in_german(page: Page, english: str, german: str) -> None:
    result = fake_result((english, 0.9))
    result["predictions"][0]["translations"] = {"de": {"display_name": german}}
    page.route("**/predict*", lambda route: route.fulfill(json=result))


@DEVICES
@pytest.mark.parametrize("name", ["Schmetterlingsorchidee", "Paradiesvogelblume"])
def test_a_long_german_word_is_neither_broken_nor_covered(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    name: str,
    phone: bool,
    widths: list[int],
) -> None:
    page = visit(bundled_service, language=GERMAN, phone=phone)
    respond_in_german(page, "Moon orchid", name)
    choose(page, photo_file)
    assert [shown.replace("\xad", "") for shown in names(page)] == [name]
    for width in widths:
        resize(page, width)
        lines = "name => name.getClientRects().length"
        assert page.locator(".name").evaluate(lines) == 1
        shown = page.locator(".name").bounding_box()
        percent = page.locator(".percent").bounding_box()
        assert shown is not None
        assert percent is not None
        is_beside = shown["x"] + shown["width"] <= percent["x"]
        is_above = shown["y"] + shown["height"] <= percent["y"]
        assert is_beside or is_above


def test_the_german_name_appears_everywhere(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service, language=GERMAN)
    respond_in_german(page, "Fire lily", "Ruhmeskrone")
    choose(page, *[photo_file] * 2)
    assert names(page) == ["Ruhmeskrone"]
    expect(page.locator(".english")).to_have_text("Fire lily")
    expect(tiles(page)).to_have_text(["Ruhmeskrone"] * 2)
    expect(tiles(page).first).to_have_attribute("lang", "de")
    expect(page.locator("#status")).to_have_text(message("script.done", "de"))
    assert page.title() == "Ruhmeskrone · Petalscope"
    most_likely = message("verdict.most_likely", "de")
    assert copied_as(page, "text", "de") == f"{most_likely}\nRuhmeskrone: 90,0\xa0%"


def test_script_and_server_count_in_german(visit: Visit, bundled_service: str) -> None:
    counts = []
    for javascript in (True, False):
        page = visit(f"{bundled_service}flowers", language=GERMAN, javascript=javascript)
        page.get_by_label(message("flowers.find", "de")).fill("lily")
        if not javascript:
            with page.expect_navigation():
                page.get_by_role("button", name=message("flowers.search", "de")).click()
        counts.append(page.locator(".count").text_content())
    assert counts[0] == counts[1]
    found = page.locator(".list li:visible").count()
    assert counts[0] == message("flowers.some", "de", found=found, count=102)
