"""The pages of a service for people's own flowers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model.checkpoint.labels import FlowerClass
from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import DEVICES, SCROLL_WIDTH, resize, violations
from tests.fake_checkpoint import save_fake_checkpoint
from tests.serving import serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LONGEST = "Vergissmeinnicht" * 15
OWN = ("Märzenbecher", LONGEST, "バラ")


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("own")
    path = save_fake_checkpoint(
        folder / "own.onnx",
        [3.0, 1.0, 0.0],
        classes=[FlowerClass(name, name) for name in OWN],
    )
    with serving(folder, PETALSCOPE_CHECKPOINT=str(path)) as server:
        yield server.address


def links(page: Page) -> list[tuple[str | None, str | None, str | None]]:
    """Return target, language and text of the names and of the links below the first one."""
    found = page.locator("main .result :is(.name, .about a)")
    expect(found).to_have_count(len(OWN) + 1)  # Wikipedia, and not GBIF
    return [
        (link.get_attribute("href"), link.get_attribute("lang"), link.text_content())
        for link in found.all()
    ]


@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
def test_script_and_server_show_the_same_result(
    visit: Visit, own_service: str, photo_file: Path, language: str
) -> None:
    scripted = visit(own_service, language=language)
    scripted.locator("#file").set_input_files(photo_file)
    plain = visit(own_service, javascript=False, language=language)
    plain.locator("#file").set_input_files(photo_file)
    plain.locator("form:has(#file) button").click()
    shown = links(plain)
    assert links(scripted) == shown
    assert [name for _, name, _ in shown] == ["", None, "", ""]
    assert (shown[1][0] or "").startswith(f"https://{language[:2]}.wikipedia.org/")
    assert scripted.title() == plain.title()


def test_no_page_breaks_wcag(visit: Visit, own_service: str, photo_file: Path) -> None:
    page = visit(own_service)
    page.locator("#file").set_input_files(photo_file)
    links(page)
    assert violations(page) == []
    for path in ("flowers", "flowers/バラ"):
        page.goto(f"{own_service}{path}")
        assert violations(page) == []


@DEVICES
def test_a_long_name_does_not_widen_the_page(
    visit: Visit, own_service: str, photo_file: Path, phone: bool, widths: list[int]
) -> None:
    page = visit(own_service, phone=phone)
    page.locator("#file").set_input_files(photo_file)
    links(page)
    for path in (None, "flowers", f"flowers/{LONGEST}", "docs"):
        if path is not None:
            page.goto(f"{own_service}{path}")
        expect(page.get_by_role("heading").first).to_be_visible()
        for width in widths:
            resize(page, width)
            assert page.evaluate(SCROLL_WIDTH) <= width, path


def test_script_and_server_find_the_same_names(visit: Visit, own_service: str) -> None:
    typed = visit(f"{own_service}flowers")
    served = visit(f"{own_service}flowers", javascript=False)
    rows = ".list li:visible a"
    for query in ("バ", "marz", "x"):
        typed.get_by_role("searchbox").fill(query)
        served.goto(f"{own_service}flowers?q={query}")
        # The script may ask the server.
        expect(typed.locator(rows)).to_have_text(served.locator(rows).all_text_contents())
