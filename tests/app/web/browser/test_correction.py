"""The visitor's answer to "Was this right?"; feedback is off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    SCROLL_WIDTH,
    choose,
    copied_as,
    fake_result,
    names,
    resize,
    respond_with,
    tiles,
    violations,
)
from tests.app.web.conftest import message

pytestmark = pytest.mark.browser


def classified(
    visit: Visit, address: str, photo_file: Path, count: int = 2, language: str = "en-GB"
) -> Page:
    """Open the page and classify photos as a rose, perhaps a tulip."""
    page = visit(address, language=language)
    result = fake_result(("Rose", 0.6), ("Tulip", 0.3))
    result["predictions"][1]["class_id"] = "2"
    page.route("**/predict*", lambda route: route.fulfill(json=result))
    choose(page, *[photo_file] * count)
    names(page)
    if count > 1:
        expect(tiles(page)).to_have_text(["Rose"] * count)
    return page


def answer(page: Page, key: str) -> Locator:
    return page.get_by_role("button", name=message(f"correction.{key}"), exact=True)


def search_field(page: Page) -> Locator:
    return page.get_by_role("searchbox", name=message("flowers.find"))


@IN_BOTH_BROWSERS
def test_another_flower_corrects_the_tile_the_note_and_the_copied_text(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = classified(visit, bundled_service, photo_file)
    answer(page, "no").click()
    expect(page.get_by_role("dialog", name=message("correction.title"))).to_be_visible()
    expect(search_field(page)).to_be_focused()
    search_field(page).fill("dahila")
    bishop = page.get_by_role("button", name="Bishop of Llandaff")
    expect(bishop.locator(".latin")).to_have_text("Dahlia ‘Bishop of Llandaff’")
    expect(bishop.locator("i")).to_have_text("Dahlia")
    bishop.click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(tiles(page)).to_have_text(["Bishop of Llandaff", "Rose"])
    expect(page.locator(".tile .of").first).to_have_text(message("script.corrected"))
    expect(page.locator(".corrected b")).to_have_text("Bishop of Llandaff")
    expect(answer(page, "change")).to_be_focused()
    assert page.title() == "Bishop of Llandaff · Petalscope"
    # The names that the service gave stay.
    assert names(page) == ["Rose", "Tulip"]
    first, *others = copied_as(page, "text").splitlines()
    assert first == f"Bishop of Llandaff ({message('script.corrected')})"
    assert others[-1].startswith("Tulip")
    assert "correction" not in json.loads(copied_as(page, "json"))


def test_a_correction_can_be_changed(visit: Visit, bundled_service: str, photo_file: Path) -> None:
    page = classified(visit, bundled_service, photo_file)
    answer(page, "no").click()
    # The other names of the result are offered first.
    expect(page.locator(".choices button")).to_have_text(["Tulip"])
    page.locator(".choices button").click()
    expect(tiles(page)).to_have_text(["Tulip", "Rose"])
    answer(page, "change").click()
    expect(answer(page, "yes")).to_be_focused()
    expect(tiles(page)).to_have_text(["Rose", "Rose"])
    expect(page.locator(".corrected")).to_have_count(0)
    assert page.title() == "Rose · Petalscope"


def test_a_flower_that_is_no_class_can_be_named(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = classified(visit, bundled_service, photo_file)
    answer(page, "no").click()
    search_field(page).fill("Zwetschge <b>")
    expect(page.get_by_text(message("script.none_found"))).to_be_visible()
    expect(page.locator(".choices button")).to_have_count(0)
    page.get_by_role("button", name=message("script.other_name", name="Zwetschge <b>")).click()
    expect(tiles(page)).to_have_text(["Zwetschge <b>", "Rose"])
    expect(page.locator(".corrected b b")).to_have_count(0)
    answer(page, "change").click()
    answer(page, "no").click()
    expect(search_field(page)).to_have_value("")
    page.get_by_role("button", name=message("script.something_else"), exact=True).click()
    expect(tiles(page)).to_have_text([message("script.something_else"), "Rose"])


def test_a_confirmed_name_loses_its_question_mark(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("Rose", 0.6), ("Tulip", 0.3), verdict="unsure")
    choose(page, photo_file, photo_file)
    asked = message("verdict.unsure_name", name="Rose")
    expect(tiles(page)).to_have_text([asked, asked])
    answer(page, "yes").click()
    expect(tiles(page)).to_have_text(["Rose", asked])
    assert page.title() == "Rose · Petalscope"


@pytest.mark.parametrize(
    ("key", "sentence"), [("yes", "answer_right"), ("unsure", "answer_unsure")]
)
def test_other_answers_change_no_name(
    visit: Visit, bundled_service: str, photo_file: Path, key: str, sentence: str
) -> None:
    page = classified(visit, bundled_service, photo_file)
    answer(page, key).click()
    expected = message(f"script.{sentence}", name="Rose")
    expect(page.locator(".correction .answer")).to_have_text(expected)
    expect(page.locator("#status")).to_have_text(expected)
    expect(answer(page, key)).to_be_hidden()
    expect(tiles(page)).to_have_text(["Rose", "Rose"])
    expect(page.locator(".tile .of").first).to_be_empty()
    assert copied_as(page, "text").splitlines()[1].startswith("Rose")
    # Each photo has an answer of its own.
    page.locator(".tile").last.click()
    expect(answer(page, key)).to_be_visible()
    page.locator(".tile").first.click()
    expect(page.locator(".correction .answer")).to_have_text(expected)


def test_yes_to_an_unknown_flower_does_not_confirm_the_closest_name(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("Rose", 0.6), ("Tulip", 0.3), verdict="unknown")
    choose(page, photo_file)
    names(page)
    expect(answer(page, "yes")).to_be_hidden()
    answer(page, "none").click()
    expect(page.locator(".correction .answer")).to_have_text(message("script.answer_none"))
    expect(page.locator(".corrected")).to_have_count(0)
    answer(page, "change").click()
    # The closest name was not claimed, so it may be the right one.
    answer(page, "no").click()
    expect(page.locator(".choices .name")).to_have_text(["Rose", "Tulip"])


@IN_BOTH_BROWSERS
def test_a_flower_is_chosen_by_keyboard(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = classified(visit, bundled_service, photo_file)
    answer(page, "no").focus()
    page.keyboard.press("Enter")
    expect(search_field(page)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(answer(page, "no")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("daisies")
    expect(page.locator(".found")).not_to_be_empty()
    expect(page.locator(".choices button", has_text="daisy").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    chosen = page.locator(".choices button").first
    expect(chosen).to_be_focused()
    name = chosen.locator(".name").inner_text()
    page.keyboard.press("ArrowUp")
    expect(search_field(page)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(tiles(page).first).to_have_text(name)
    expect(answer(page, "change")).to_be_focused()


def test_a_failed_search_leaves_something_else(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = classified(visit, bundled_service, photo_file)
    page.route("**/flowers?*", lambda route: route.abort())
    answer(page, "no").click()
    search_field(page).fill("lily")
    expect(page.locator(".found")).to_have_text(message("script.unsent"))
    page.get_by_role("button", name=message("script.other_name", name="lily")).click()
    expect(tiles(page)).to_have_text(["lily", "Rose"])


def test_names_are_in_the_language_of_the_page(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = classified(visit, bundled_service, photo_file, language="de-DE")
    page.locator("[data-answer=wrong]").click()
    page.get_by_role("searchbox").fill("Sonnenblume")
    page.locator(".choices button", has_text="Sonnenblume").click()
    expect(tiles(page)).to_have_text(["Sonnenblume", "Rose"])
    expect(tiles(page).first).to_have_attribute("lang", "de")
    expect(page.locator(".tile .of").first).to_have_text(message("script.corrected", "de"))


def test_nothing_is_sent_if_feedback_is_off(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = classified(visit, bundled_service, photo_file, 1)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    answer(page, "yes").click()
    expect(answer(page, "change")).to_be_visible()
    expect(page.get_by_role("button", name=message("correction.send"))).to_have_count(0)
    assert "POST" not in sent


def test_the_question_needs_a_result(
    visit: Visit, bundled_service: str, photo_file: Path, text_file: Path
) -> None:
    page = visit(bundled_service)
    question = page.get_by_role("heading", name=message("feedback.question"))
    expect(question).to_be_hidden()
    choose(page, text_file)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(question).to_be_hidden()
    choose(page, photo_file)
    names(page)
    expect(question).to_be_visible()
    unscripted = visit(bundled_service, javascript=False)
    choose(unscripted, photo_file)
    names(unscripted)
    expect(unscripted.locator(".correction")).to_be_hidden()


@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
def test_the_dialog_breaks_neither_wcag_nor_narrow_screens(
    visit: Visit, bundled_service: str, photo_file: Path, language: str
) -> None:
    page = classified(visit, bundled_service, photo_file, language=language)
    assert violations(page) == []
    page.locator("[data-answer=wrong]").click()
    page.get_by_role("searchbox").fill("lily")
    expect(page.locator(".choices li").nth(3)).to_be_visible()
    assert violations(page) == []
    for width in (320, 390, 820):
        resize(page, width, 568)
        assert page.evaluate(SCROLL_WIDTH) <= width
        found = page.get_by_role("dialog").bounding_box()
        assert found is not None
        assert found["x"] >= 0
        assert found["x"] + found["width"] <= width
        assert found["height"] <= 568
    page.locator(".choices button").first.click()
    assert violations(page) == []
