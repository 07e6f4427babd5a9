"""Combination of several photos of one plant."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    PHOTO,
    SCROLL_WIDTH,
    best,
    choose,
    fake_result,
    hold,
    names,
    respond_with,
    tiles,
    violations,
    wait_for_one,
    wait_for_requests,
)
from tests.app.web.conftest import message
from tests.conftest import flower_image

pytestmark = pytest.mark.browser

ALONE = ("Rose", "Tulip", "Peony", "Sword lily", "Daffodil", "Azalea")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number}.jpg" for number in range(len(ALONE))]
    for number, path in enumerate(paths):
        flower_image((400, 300 + 40 * number), seed=number).save(path)
    return paths


def fake_api(page: Page, together: str = "Camellia") -> list[int]:
    """Fake the API's responses; return a list that receives the size of each combined request."""
    counts: list[int] = []
    left = list(ALONE)

    def alone(name: str) -> dict[str, object]:
        return fake_result((name, 0.6), ("Daisy", 0.3))

    def handle(route: object) -> None:
        request = route.request  # type: ignore[attr-defined]
        if "combine=1" not in request.url:
            route.fulfill(json=alone(left.pop(0)))  # type: ignore[attr-defined]
            return
        # Playwright cannot see the files of a form, so the page counts them.
        count = page.evaluate("window.sent")
        counts.append(count)
        assert "explain" not in request.url
        route.fulfill(json={**alone(together), "photos": [alone("x")] * count})  # type: ignore[attr-defined]

    page.route("**/predict*", handle)
    page.evaluate(
        """() => {
            const { send } = XMLHttpRequest.prototype;
            XMLHttpRequest.prototype.send = function (body) {
                window.sent = body.getAll("image").length;
                send.call(this, body);
            };
        }"""
    )
    return counts


def wait_for_all(page: Page, count: int) -> None:
    expect(tiles(page)).to_have_text(list(ALONE[:count]))


@pytest.mark.parametrize(
    ("phone", "locale", "language"),
    [(False, "en-GB", "en"), (True, "de-DE", "de")],
    ids=["desktop", "phone, German"],
)
def test_photos_of_one_plant_get_one_result(
    visit: Visit,
    bundled_service: str,
    photos: list[Path],
    phone: bool,
    locale: str,
    language: str,
) -> None:
    combined_label = message("script.combined", language, count=3)
    page = visit(bundled_service, phone=phone, language=locale)
    counts = fake_api(page)
    choose(page, *photos[:3])
    wait_for_all(page, 3)
    page.get_by_role("button", name=message("page.combine", language)).click()
    expect(page.locator(".tile[aria-pressed=true]")).to_have_count(3)
    page.get_by_role("button", name=message("script.combine_now", language, count=3)).click()
    expect(best(page)).to_have_text("Camellia")
    assert counts == [3]
    assert page.title() == "Camellia · Petalscope"
    expect(page.locator(".combined-note")).to_contain_text("3")
    expect(page.locator(PHOTO)).to_have_count(3)
    expect(tiles(page)).to_have_text(["Rose", "Tulip", "Peony", "Camellia"])
    expect(page.locator(".tile[aria-current]")).to_contain_text(combined_label)
    widths = "tiles => tiles.map((tile) => tile.offsetWidth)"
    assert len(set(page.locator(".tile").evaluate_all(widths))) == 1
    # innerWidth grows with the content on phones.
    assert page.evaluate(SCROLL_WIDTH) == (390 if phone else 1280)
    # The single results stay in the list.
    page.locator(".tile", has_text="Tulip").click()
    expect(best(page)).to_have_text("Tulip")
    expect(page.locator(PHOTO)).to_have_count(1)
    page.locator(".tile", has_text=combined_label).click()
    expect(best(page)).to_have_text("Camellia")
    expect(page.locator(PHOTO)).to_have_count(3)


@IN_BOTH_BROWSERS
def test_the_real_service_combines_photos(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    choose(page, *photos[:2])
    page.get_by_role("button", name=message("page.combine")).click()
    page.get_by_role("button", name=message("script.combine_now", count=2)).click()
    expect(page.locator(".tile .of").last).to_have_text(message("script.combined", count=2))
    assert len(names(page)) == 5
    expect(page.get_by_label(message("page.explain"))).to_be_hidden()
    assert violations(page) == []


@IN_BOTH_BROWSERS
def test_photos_are_selected_by_keyboard_and_announced(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    counts = fake_api(page)
    choose(page, *photos[:3])
    wait_for_all(page, 3)
    page.get_by_role("button", name=message("page.combine")).focus()
    page.keyboard.press("Enter")
    first = page.get_by_role("button", name="Rose", pressed=True)
    expect(first).to_be_focused()
    expect(page.get_by_role("heading", name=message("page.combine_which"))).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Rose", pressed=False)).to_be_focused()
    expect(page.locator("#status")).to_have_text(message("script.combine_now", count=2))
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.locator("#status")).to_have_text(message("script.combine_rule", most=5))
    expect(page.get_by_role("button", name=message("script.combine_rule", most=5))).to_be_disabled()
    page.keyboard.press("Space")
    page.get_by_role("button", name=message("script.combine_now", count=2)).focus()
    page.keyboard.press("Enter")
    expect(best(page)).to_have_text("Camellia")
    assert counts == [2]
    expect(page.locator("#panel")).to_be_focused()
    expect(page.locator("#status")).to_have_text(
        f"{message('verdict.most_likely')}: Camellia, 60.0%"
    )


def test_canceling_the_selection_changes_nothing(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    fake_api(page)
    choose(page, *photos[:2])
    wait_for_all(page, 2)
    begin = page.get_by_role("button", name=message("page.combine"))
    begin.click()
    page.get_by_role("button", name=message("page.combine_cancel")).click()
    expect(begin).to_be_focused()
    expect(page.locator(".tile[aria-pressed]")).to_have_count(0)
    expect(page.get_by_role("heading", name=message("page.entries"))).to_be_visible()
    expect(best(page)).to_have_text("Rose")


def selected(page: Page) -> Locator:
    return page.locator(".tile[aria-pressed=true] .label")


def test_photos_with_the_same_name_are_preselected(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    left = ["Rose", "Tulip", "Rose", "Peony", "Rose"]
    page.route("**/predict*", lambda route: route.fulfill(json=fake_result((left.pop(0), 0.6))))
    choose(page, *photos[:4])
    expect(tiles(page)).to_have_text(["Rose", "Tulip", "Rose", "Peony"])
    choose(page, photos[4])
    expect(tiles(page)).to_have_text(["Rose", "Tulip", "Rose", "Peony", "Rose"])
    begin = page.get_by_role("button", name=message("page.combine"))
    begin.click()
    expect(selected(page)).to_have_text(["Rose"] * 3)
    page.keyboard.press("Escape")
    expect(begin).to_be_focused()
    # No other photo has this name, so those chosen together are preselected.
    page.locator(".tile", has_text="Tulip").click()
    begin.click()
    expect(selected(page)).to_have_text(["Rose", "Tulip", "Rose", "Peony"])


def test_at_most_as_many_photos_are_preselected_as_can_be_combined(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("Rose", 0.9))
    choose(page, *photos)
    expect(tiles(page)).to_have_text(["Rose"] * 6)
    page.get_by_role("button", name=message("page.combine")).click()
    expect(selected(page)).to_have_count(5)
    # The photo on display is one of them.
    expect(page.locator(".tile").first).to_have_attribute("aria-pressed", "true")


def test_a_large_choice_of_different_flowers_is_not_preselected(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    counts = fake_api(page)
    choose(page, *photos)
    wait_for_all(page, 6)
    page.get_by_role("button", name=message("page.combine")).click()
    expect(selected(page)).to_have_text(["Rose"])
    expect(page.get_by_role("button", name=message("script.combine_rule", most=5))).to_be_disabled()
    for name in ("Tulip", "Peony", "Daffodil", "Azalea"):
        page.locator(".tile", has_text=name).click()
    page.get_by_role("button", name=message("script.combine_now", count=5)).click()
    expect(best(page)).to_have_text("Camellia")
    assert counts == [5]


@pytest.mark.parametrize("width", [320, 390])
def test_all_tiles_are_in_view_on_a_phone(
    visit: Visit, bundled_service: str, photos: list[Path], width: int
) -> None:
    page = visit(bundled_service, phone=True, width=width)
    fake_api(page)
    choose(page, *photos)
    wait_for_all(page, 6)
    for tile in page.locator(".tile").all():
        box = tile.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] >= 44
    assert page.evaluate(SCROLL_WIDTH) == width


def test_single_failed_and_combined_entries_cannot_be_combined(
    visit: Visit, bundled_service: str, photos: list[Path], text_file: Path
) -> None:
    page = visit(bundled_service)
    begin = page.get_by_role("button", name=message("page.combine"))
    choose(page, photos[0], text_file)
    expect(tiles(page).last).to_have_text(message("script.not_named"))
    expect(begin).to_be_hidden()
    choose(page, photos[1])
    expect(begin).to_be_visible()
    begin.click()
    for tile in page.locator(".tile[aria-pressed=false]").all():
        tile.click()
    page.get_by_role("button", name=message("script.combine_now", count=2)).click()
    expect(page.locator(".tile")).to_have_count(3)
    names(page)
    begin.click()
    expect(page.locator(".tile[aria-pressed]")).to_have_count(2)
    expect(page.locator(".tile").last).to_be_disabled()


def test_combining_can_be_canceled_and_retried(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    counts = fake_api(page)
    choose(page, *photos[:2])
    wait_for_all(page, 2)
    held = hold(page)

    def combine() -> None:
        page.get_by_role("button", name=message("page.combine")).click()
        page.get_by_role("button", name=message("script.combine_now", count=2)).click()
        expect(page.get_by_role("progressbar")).to_be_visible()

    combine()
    wait_for_one(page, held)
    page.get_by_role("button", name=message("page.cancel"), exact=True).click()
    expect(best(page)).to_have_text("Rose")
    expect(tiles(page)).to_have_text(["Rose", "Tulip"])
    combine()
    wait_for_requests(page, held, 2)
    held[1].abort()
    expect(page.get_by_role("alert")).to_contain_text(message("script.unsent_detail"))
    page.unroute("**/predict*", None)
    assert counts == []
    fake_api(page)
    page.get_by_role("button", name=message("page.retry")).click()
    expect(best(page)).to_have_text("Camellia")
