"""Feedback: the dialog; without scripts, the form and the page of the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    SCROLL_WIDTH,
    choose,
    names,
    resize,
    violations,
)
from tests.app.web.conftest import message
from tests.serving import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def feedback_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="module")
def feedback_service(
    tmp_path_factory: pytest.TempPathFactory, feedback_folder: Path
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, PETALSCOPE_FEEDBACK_DIR=str(feedback_folder)) as server:
        yield server.address


def fill(page: Page, photo_file: Path) -> None:
    """Fill the form with another flower and the photo."""
    form = page.locator("form.feedback")
    form.get_by_role("combobox").select_option("18")
    form.get_by_label(message("feedback.consent")).check()
    form.get_by_label(message("feedback.photo")).set_input_files(photo_file)


def test_feedback_is_sent_and_deleted_without_scripts(
    visit: Visit, feedback_service: str, feedback_folder: Path, photo_file: Path
) -> None:
    page = visit(feedback_service, javascript=False)
    choose(page, photo_file)
    fill(page, photo_file)
    page.get_by_role("button", name=message("feedback.send"), exact=True).click()
    expect(page.get_by_role("heading", name=message("feedback.thanks"))).to_be_visible()
    expect(page.get_by_text(message("feedback.stored_photo"))).to_be_visible()
    assert len(list((feedback_folder / "photos").iterdir())) == 1
    page.get_by_role("button", name=message("feedback.delete"), exact=True).click()
    expect(page.get_by_role("heading", name=message("feedback.deleted"))).to_be_visible()
    assert list((feedback_folder / "photos").iterdir()) == []


def test_feedback_breaks_neither_wcag_nor_narrow_screens(
    visit: Visit, feedback_service: str, photo_file: Path
) -> None:
    page = visit(feedback_service, phone=True)
    # axe-core needs JavaScript, so only the page's own scripts are blocked.
    page.route("**/page.js", lambda route: route.abort())
    page.reload()
    choose(page, photo_file)
    names(page)

    def check() -> None:
        assert violations(page) == []
        resize(page, 320)
        assert page.evaluate(SCROLL_WIDTH) <= 320

    check()
    fill(page, photo_file)
    page.get_by_role("button", name=message("feedback.send"), exact=True).click()
    expect(page.get_by_role("heading", name=message("feedback.thanks"))).to_be_visible()
    check()
    # Other tests count the stored photos.
    page.get_by_role("button", name=message("feedback.delete"), exact=True).click()
    expect(page.get_by_role("heading", name=message("feedback.deleted"))).to_be_visible()
    check()
    page.goto(f"{feedback_service}your-feedback")
    check()


# -- The dialog of the scripts ------------------------------------------------


def stored_photos(folder: Path) -> int:
    return len(list((folder / "photos").iterdir()))


def button(page: Page, key: str) -> Locator:
    return page.get_by_role("button", name=message(key), exact=True)


def correct(page: Page, photo_file: Path) -> Locator:
    """Classify a photo and name another flower; return the dialog that offers to send it."""
    choose(page, photo_file)
    names(page)
    button(page, "correction.no").click()
    page.get_by_role("searchbox").fill("sunflower")
    page.locator(".choices button", has_text="Sunflower").click()
    dialog = page.get_by_role("dialog", name=message("correction.send"))
    expect(dialog).to_be_visible()
    return dialog


def test_the_start_page_asks_for_a_first_photo(
    visit: Visit, feedback_service: str, photo_file: Path
) -> None:
    page = visit(feedback_service)
    expect(page.get_by_text(message("page.choose"))).to_be_visible()
    expect(page.get_by_text(message("page.another"), exact=True)).to_be_hidden()
    choose(page, photo_file)
    names(page)
    expect(page.get_by_text(message("page.another"), exact=True)).to_be_visible()


@IN_BOTH_BROWSERS
def test_a_correction_is_sent_without_the_photo_unless_the_visitor_agrees(
    visit: Visit, feedback_service: str, feedback_folder: Path, photo_file: Path
) -> None:
    page = visit(feedback_service)
    dialog = correct(page, photo_file)
    expect(dialog).to_contain_text("Sunflower")
    expect(dialog.get_by_role("checkbox")).not_to_be_checked()
    button(page, "feedback.send").click()
    expect(page.get_by_text(message("feedback.stored"))).to_be_visible()
    assert stored_photos(feedback_folder) == 0
    expect(dialog.locator("code")).to_have_text(re.compile("^[0-9a-f]{20}$"))
    button(page, "feedback.delete").click()
    expect(page.get_by_text(message("feedback.deleted_detail"))).to_be_visible()


@IN_BOTH_BROWSERS
def test_a_sent_photo_can_be_deleted_at_once_or_later(
    visit: Visit, feedback_service: str, feedback_folder: Path, photo_file: Path
) -> None:
    page = visit(feedback_service)
    dialog = correct(page, photo_file)
    dialog.get_by_label(message("feedback.consent")).check()
    button(page, "feedback.send").click()
    expect(page.get_by_text(message("feedback.stored_photo"))).to_be_visible()
    assert stored_photos(feedback_folder) == 1
    copy = button(page, "correction.copy_code")
    expect(copy).to_be_focused()
    code = dialog.locator("code").inner_text()
    copy.click()
    expect(button(page, "script.copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == code
    button(page, "correction.close").click()
    # What was sent is deleted before the answer changes.
    expect(button(page, "correction.change")).to_be_hidden()
    expect(button(page, "correction.send")).to_be_hidden()
    button(page, "correction.sent").click()
    expect(dialog.locator("code")).to_have_text(code)
    button(page, "feedback.delete").click()
    expect(page.get_by_text(message("feedback.deleted_detail"))).to_be_visible()
    assert stored_photos(feedback_folder) == 0
    button(page, "correction.close").click()
    expect(button(page, "correction.change")).to_be_visible()
    button(page, "correction.send").click()
    expect(dialog.get_by_role("checkbox")).not_to_be_checked()


def test_a_confirmation_is_sent_if_the_visitor_wants(
    visit: Visit, feedback_service: str, photo_file: Path
) -> None:
    page = visit(feedback_service)
    choose(page, photo_file)
    names(page)
    button(page, "correction.none").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    button(page, "correction.send").click()
    button(page, "feedback.send").click()
    expect(page.get_by_text(message("feedback.stored"))).to_be_visible()


@pytest.mark.parametrize(
    ("status", "code", "title"),
    [
        (507, "feedback_full", "titles.507"),
        (429, "rate_limited", "titles.rate_limited"),
        (429, "overloaded", "titles.429"),
        (503, "feedback_unavailable", "titles.feedback_unavailable"),
        (0, "", "script.unsent"),
    ],
)
def test_a_refusal_is_explained_and_can_be_retried(
    visit: Visit, feedback_service: str, photo_file: Path, status: int, code: str, title: str
) -> None:
    page = visit(feedback_service)
    problem = {"code": code, "detail": "What happened, and what to do."}
    page.route(
        "**/feedback",
        lambda route: route.fulfill(status=status, json=problem) if status else route.abort(),
    )
    dialog = correct(page, photo_file)
    button(page, "feedback.send").click()
    alert = dialog.get_by_role("alert")
    expect(alert.get_by_role("heading")).to_have_text(message(title))
    if status:
        expect(alert).to_contain_text(problem["detail"])
    assert violations(page) == []
    page.unroute("**/feedback")
    button(page, "feedback.send").click()
    expect(page.get_by_text(message("feedback.stored"))).to_be_visible()
    expect(alert).to_be_hidden()
    page.route("**/feedback/*", lambda route: route.fulfill(status=503, json=problem))
    button(page, "feedback.delete").click()
    expect(alert).to_be_visible()
    page.unroute("**/feedback/*")
    button(page, "feedback.delete").click()
    expect(page.get_by_text(message("feedback.deleted_detail"))).to_be_visible()


def test_a_page_in_place_of_the_receipt_is_a_problem(
    visit: Visit, feedback_service: str, photo_file: Path
) -> None:
    page = visit(feedback_service)
    page.route("**/feedback", lambda route: route.fulfill(body="<h1>Log in</h1>"))
    dialog = correct(page, photo_file)
    button(page, "feedback.send").click()
    expect(dialog.get_by_role("alert").get_by_role("heading")).to_have_text(message("titles.other"))
    page.unroute("**/feedback")
    button(page, "feedback.send").click()
    expect(page.get_by_text(message("feedback.stored"))).to_be_visible()


def test_a_service_that_does_not_answer_is_explained(
    visit: Visit, feedback_service: str, photo_file: Path
) -> None:
    page = visit(feedback_service)
    page.route("**/feedback", lambda route: None)
    dialog = correct(page, photo_file)
    # The page's timeout, without the wait.
    page.evaluate(
        """() => {
            AbortSignal.timeout = () => AbortSignal.abort(new DOMException("", "TimeoutError"));
        }"""
    )
    button(page, "feedback.send").click()
    expect(dialog.get_by_role("alert").get_by_role("heading")).to_have_text(message("titles.504"))
    expect(button(page, "feedback.send")).to_be_enabled()


def test_the_dialog_breaks_neither_wcag_nor_narrow_screens(
    visit: Visit, feedback_service: str, photo_file: Path
) -> None:
    page = visit(feedback_service, phone=True)
    dialog = correct(page, photo_file)
    for step in ("feedback.send", "feedback.delete", "correction.close"):
        expect(button(page, step)).to_be_enabled()
        assert violations(page) == []
        resize(page, 320)
        assert page.evaluate(SCROLL_WIDTH) <= 320
        button(page, step).click()
    expect(dialog).to_be_hidden()
