"""The form below a result and the page of the deletion code in Chromium, without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import SCROLL_WIDTH, choose, names, resize, violations
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
    page.get_by_label(message("feedback.question")).select_option("18")
    page.get_by_label(message("feedback.consent")).check()
    page.get_by_label(message("feedback.photo")).set_input_files(photo_file)


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
    page.goto(f"{feedback_service}your-feedback")
    check()
