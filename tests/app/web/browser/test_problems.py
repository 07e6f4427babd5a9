"""Problems shown on the page, and their remedies."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, Playwright, expect

from tests.app.web.browser.conftest import MAX_BODY_MIB, Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    PHOTO,
    WITH_AND_WITHOUT_SCRIPTS,
    choose,
    drop,
    hold,
    names,
    tiles,
    wait_for_one,
)
from tests.app.web.conftest import message
from tests.browsers import firefox
from tests.model.imaging.test_heif import heic
from tests.serving import serving

pytestmark = pytest.mark.browser


NO_PHOTOS = {
    b"%PDF-1.7": "pdf",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "heic",
    b"\0\0\0\x18ftypisom\0\0\2\0isomiso2": "video",
    b"\x1a\x45\xdf\xa3\x01\0": "video",
    b"II*\0\x08\0\0\0": "raw",
    b"PK\x03\x04\x14\0": "zip",
    b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">': "svg",
    b"<!DOCTYPE html><html>": "web",
}


@IN_BOTH_BROWSERS
def test_other_files_are_rejected_before_the_upload(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    page = visit(bundled_service)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    for start, kind in NO_PHOTOS.items():
        file = tmp_path / "flower.jpg"
        file.write_bytes(start + bytes(200))
        choose(page, file)
        expect(page.get_by_role("alert")).to_contain_text(message(f"script.{kind}"))
        expect(page.get_by_role("alert")).to_contain_text(f"{MAX_BODY_MIB}\xa0MiB")
        expect(page.locator(".plate")).to_be_visible()
    assert "POST" not in sent


def test_a_heic_photo_is_sent_if_the_service_accepts_it(visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "flower.heic"
    file.write_bytes(heic())
    with serving(tmp_path, PETALSCOPE_HEIF="true") as server:
        page = visit(server.address)
        choose(page, file)
        assert len(names(page)) == 5


def test_a_folder_is_rejected(visit: Visit, bundled_service: str, photo_file: Path) -> None:
    page = visit(bundled_service)
    # Browsers report a folder as a file that cannot be read.
    page.evaluate("File.prototype.slice = () => ({ arrayBuffer: () => Promise.reject() })")
    drop(page, photo_file)
    expect(page.get_by_role("alert")).to_contain_text(message("script.unreadable_detail"))


@WITH_AND_WITHOUT_SCRIPTS
def test_a_rejected_file_shows_a_readable_problem(
    visit: Visit, bundled_service: str, text_file: Path, photo_file: Path, javascript: bool
) -> None:
    page = visit(bundled_service, javascript=javascript)
    choose(page, text_file)
    box = page.get_by_role("alert")
    expect(box).to_contain_text("JPEG")
    expect(box.get_by_role("heading")).not_to_be_empty()
    expect(page.locator(".retry")).to_be_hidden()
    expect(page.locator(".plate")).to_be_visible()
    choose(page, photo_file)
    assert len(names(page)) == 5
    expect(page.get_by_role("alert")).not_to_be_attached()


@pytest.mark.firefox
def test_firefox_without_scripts_shows_results_and_problems(
    playwright: Playwright, bundled_service: str, photo_file: Path, text_file: Path
) -> None:
    with firefox(playwright, scripts=False) as browser:
        page = browser.new_page(locale="en-GB")
        page.goto(bundled_service)
        for path in (text_file, photo_file):
            page.set_input_files("#file", path)
            with page.expect_navigation():
                page.locator("form:has(#file) button").press("Enter")
            if path == text_file:
                assert "JPEG" in page.get_by_role("alert").inner_text()
        assert page.locator(".prediction .name").count() == 5
        assert page.locator(PHOTO).is_visible()
        with page.expect_navigation():
            page.get_by_role("link", name="Deutsch", exact=True).press("Enter")
        question = page.get_by_role("heading", level=1).inner_text()
        assert question == message("page.question", "de")


@WITH_AND_WITHOUT_SCRIPTS
def test_a_too_large_photo_shows_the_limit(
    visit: Visit, bundled_service: str, tmp_path: Path, javascript: bool
) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(b"\xff\xd8\xff" + bytes(MAX_BODY_MIB * 2**20))
    page = visit(bundled_service, javascript=javascript)
    choose(page, large)
    expect(page.get_by_role("alert")).to_contain_text("1\xa0MiB")


@IN_BOTH_BROWSERS
def test_a_broken_connection_can_be_retried(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    page.route("**/predict*", lambda route: route.abort())
    choose(page, photo_file)
    expect(page.get_by_role("alert")).to_contain_text(message("script.unsent_detail"))
    expect(page.locator(PHOTO)).to_be_visible()
    page.unroute("**/predict*")
    page.get_by_role("button", name=message("page.retry")).click()
    assert len(names(page)) == 5


# Title, detail, and whether the photo can be sent again, by the status of a proxy's own page.
PROXY_PAGES = {
    413: ("titles.413", "script.proxy_too_large", False),
    502: ("titles.502", "script.proxy_unreachable", True),
    503: ("titles.503", "script.proxy_unreachable", True),
    504: ("titles.504", "script.proxy_timeout", True),
    520: ("titles.other", "script.failed_detail", True),
    # Not the service's 403, which names another cause.
    403: ("titles.other", "script.proxy_refused", False),
    # The sign-in page of a public network.
    200: ("titles.other", "script.failed_detail", True),
}


def respond_as_proxy(page: Page, status: int) -> None:
    body = "<h1>Bad gateway</h1>"
    page.route(
        "**/predict*",
        lambda route: route.fulfill(status=status, content_type="text/html", body=body),
    )


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_page_of_a_proxy_gets_words_by_its_status(
    visit: Visit, bundled_service: str, photo_file: Path, language: str
) -> None:
    page = visit(bundled_service, language=language)
    alert = page.get_by_role("alert")
    retry = page.get_by_role("button", name=message("page.retry", language))
    for status, (title, detail, can_retry) in PROXY_PAGES.items():
        respond_as_proxy(page, status)
        choose(page, photo_file)
        expect(alert.get_by_role("heading")).to_have_text(message(title, language))
        expect(alert).to_contain_text(message(detail, language, status=status))
        expect(retry).to_be_visible(visible=can_retry)
        page.goto(bundled_service)


def test_results_stay_when_the_service_disappears(
    visit: Visit, tmp_path: Path, photo_file: Path
) -> None:
    with serving(tmp_path) as server:
        page = visit(server.address)
        held = hold(page, after=1)
        choose(page, photo_file, photo_file)
        expected = names(page)
        wait_for_one(page, held)
    held[0].continue_()
    expect(tiles(page)).to_have_text(
        [message("verdict.unknown_flower"), message("script.not_named")]
    )
    assert names(page) == expected
    page.locator(".tile").last.click()
    expect(page.get_by_role("alert")).to_contain_text(message("script.unsent_detail"))
    expect(page.get_by_role("button", name=message("page.retry"))).to_be_visible()
    page.locator(".tile").first.click()
    assert names(page) == expected


def test_a_busy_service_can_be_retried(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    problem = {"title": "Too Many Requests", "detail": "The queue is full."}
    page.route("**/predict*", lambda route: route.fulfill(status=429, json=problem))
    choose(page, photo_file)
    alert = page.get_by_role("alert")
    expect(alert.get_by_role("heading")).to_have_text(message("titles.429"))
    expect(alert).to_contain_text(problem["detail"])
    page.unroute("**/predict*")
    page.get_by_role("button", name=message("page.retry")).click()
    assert len(names(page)) == 5


def test_an_unknown_path_links_to_the_start_page(visit: Visit, bundled_service: str) -> None:
    page = visit(f"{bundled_service}nothing/here")
    expect(page.get_by_role("alert")).to_contain_text("/nothing/here")
    page.get_by_role("link", name=message("titles.back")).click()
    expect(page.get_by_role("heading", name=message("page.question"))).to_be_visible()
