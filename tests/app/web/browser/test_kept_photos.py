"""Photos kept in the browser, and the removal of photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    names,
    resize,
    settle,
    tiles,
    violations,
    wait_until,
)
from tests.app.web.conftest import message
from tests.conftest import flower_image

pytestmark = pytest.mark.browser

FOUND = ("Rose", "Tulip", "Peony", "Daisy", "Camellia")
RECORDS = """async () => {
    const databases = await indexedDB.databases();
    if (databases.length === 0) return [];
    const open = indexedDB.open(databases[0].name);
    await new Promise((resolve) => { open.onsuccess = resolve; });
    const db = open.result;
    const all = db.transaction("photos").objectStore("photos").getAll();
    await new Promise((resolve) => { all.onsuccess = resolve; });
    db.close();
    return all.result.map(({ result: { correction, predictions } }) =>
        (correction?.flower ?? predictions[0]).display_name);
}"""


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(paths):
        flower_image((400, 300 + 40 * number), seed=number).save(path)
    return paths


def fake_api(page: Page) -> None:
    left = list(FOUND)

    def respond(route: Any) -> None:
        route.fulfill(json=fake_result((left.pop(0), 0.9), ("Lotus", 0.05)))

    page.route("**/predict*", respond)


def opened(visit: Visit, address: str, photos: list[Path]) -> Page:
    """Open the page and classify photos."""
    page = visit(address)
    fake_api(page)
    choose(page, *photos)
    expect(tiles(page)).to_have_text(list(FOUND[: len(photos)]))
    expect(page.locator("#status")).to_have_text(message("script.done"))
    return page


def switch(page: Page) -> Locator:
    return page.get_by_role("switch", name=message("keep.switch"))


def keep(page: Page, count: int) -> None:
    """Turn keeping on and wait until a number of photos is stored."""
    switch(page).check()
    wait_for_records(page, count)


def wait_for_records(page: Page, count: int) -> None:
    wait_until(page, lambda: len(page.evaluate(RECORDS)) == count)


def test_nothing_is_kept_by_default(visit: Visit, bundled_service: str, photos: list[Path]) -> None:
    page = opened(visit, bundled_service, photos)
    expect(switch(page)).not_to_be_checked()
    assert page.evaluate("indexedDB.databases()") == []
    assert page.evaluate("localStorage.length") == 0
    page.reload()
    expect(page.get_by_role("heading", name=message("page.question"))).to_be_visible()
    expect(page.locator(".entries")).to_be_hidden()


@IN_BOTH_BROWSERS
def test_kept_photos_survive_a_reload(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = opened(visit, bundled_service, photos[:2])
    keep(page, 2)
    choose(page, photos[2])
    expect(best(page)).to_have_text("Peony")
    wait_for_records(page, 3)
    page.reload()
    expect(page.get_by_role("heading", name=message("page.question"))).to_be_visible()
    expect(page.get_by_role("heading", name=message("page.entries"))).to_be_visible()
    expect(tiles(page)).to_have_text(["Rose", "Tulip", "Peony"])
    expect(switch(page)).to_be_checked()
    settle(page)
    assert (
        page.locator(".tile img").evaluate_all("all => all.map((picture) => picture.naturalWidth)")
        == [128] * 3
    )
    page.locator(".tile").nth(1).click()
    assert names(page) == ["Tulip", "Lotus"]
    settle(page)
    assert page.locator(PHOTO).evaluate("photo => photo.naturalHeight") == 340


@IN_BOTH_BROWSERS
def test_corrections_parts_and_combinations_are_kept(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = opened(visit, bundled_service, photos[:2])
    keep(page, 2)
    page.get_by_role("button", name=message("page.combine")).click()
    for tile in page.locator(".tile[aria-pressed=false]").all():
        tile.click()
    page.get_by_role("button", name=message("script.combine_now", count=2)).click()
    expect(best(page)).to_have_text("Peony")
    page.locator(".tile").first.click()
    page.get_by_role("button", name=message("part.select")).click()
    expect(page.locator(".square")).to_be_focused()
    page.keyboard.press("Enter")
    expect(best(page)).to_have_text("Daisy")
    page.get_by_role("button", name=message("correction.no")).click()
    page.locator(".choices button", has_text="Lotus").click()
    shown = ["Rose", "Lotus", "Tulip", "Peony"]
    expect(tiles(page)).to_have_text(shown)
    wait_until(page, lambda: sorted(page.evaluate(RECORDS)) == sorted(shown))
    page.reload()
    expect(tiles(page)).to_have_text(shown)
    page.locator(".tile", has_text="Lotus").click()
    expect(page.locator(".corrected b")).to_have_text("Lotus")
    expect(page.locator(".tile[aria-current] .of")).to_have_text(
        f"{message('script.part')} · {message('script.corrected')}"
    )
    page.get_by_role("button", name=message("part.whole")).click()
    expect(best(page)).to_have_text("Rose")
    page.locator(".tile", has_text="Peony").click()
    expect(page.locator(PHOTO)).to_have_count(2)
    settle(page)


def test_one_photo_can_be_removed(visit: Visit, bundled_service: str, photos: list[Path]) -> None:
    page = opened(visit, bundled_service, photos)
    keep(page, 3)
    page.locator(".tile").nth(1).click()
    page.get_by_role("button", name=message("keep.remove"), exact=True).click()
    expect(tiles(page)).to_have_text(["Rose", "Peony"])
    assert names(page)[0] == "Peony"
    expect(page.locator("#panel")).to_be_focused()
    wait_for_records(page, 2)
    page.reload()
    expect(tiles(page)).to_have_text(["Rose", "Peony"])


@IN_BOTH_BROWSERS
def test_all_photos_can_be_removed(visit: Visit, bundled_service: str, photos: list[Path]) -> None:
    page = opened(visit, bundled_service, photos)
    keep(page, 3)
    remove_all = page.get_by_role("button", name=message("keep.remove_all"), exact=True)
    page.once("dialog", lambda dialog: dialog.dismiss())
    remove_all.click()
    expect(tiles(page)).to_have_count(3)
    page.once("dialog", lambda dialog: dialog.accept())
    remove_all.click()
    expect(tiles(page)).to_have_count(0)
    expect(page.get_by_role("heading", name=message("page.question"))).to_be_visible()
    wait_for_records(page, 0)


def test_a_removed_photo_is_not_combined(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = opened(visit, bundled_service, photos)
    page.get_by_role("button", name=message("page.combine")).click()
    combine = page.locator(".combine-now")
    expect(combine).to_have_text(message("script.combine_now", count=3))
    remove = page.get_by_role("button", name=message("keep.remove"), exact=True)
    remove.click()
    expect(combine).to_have_text(message("script.combine_now", count=2))
    remove.click()
    expect(combine).to_be_hidden()
    expect(page.get_by_role("heading", name=message("page.entries"))).to_be_hidden()
    assert names(page)[0] == "Peony"


def test_turning_it_off_deletes_what_is_kept(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = opened(visit, bundled_service, photos)
    keep(page, 3)
    switch(page).uncheck()
    expect(page.locator("#keep-note")).to_have_text(message("script.keep_off"))
    wait_for_records(page, 0)
    expect(tiles(page)).to_have_count(3)
    assert page.evaluate("localStorage.length") == 0
    page.reload()
    expect(page.locator(".entries")).to_be_hidden()


def test_a_full_device_is_explained_and_naming_goes_on(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = opened(visit, bundled_service, photos[:2])
    keep(page, 2)
    page.evaluate(
        """() => {
            IDBObjectStore.prototype.put = () => {
                throw new DOMException("", "QuotaExceededError");
            };
        }"""
    )
    choose(page, photos[2])
    expect(best(page)).to_have_text("Peony")
    expect(page.locator("#keep-note")).to_have_text(message("script.keep_full"))
    expect(switch(page)).to_be_checked()
    assert page.evaluate(RECORDS) == ["Rose", "Tulip"]


def test_only_the_latest_photos_are_kept(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)

    def limit(route: Any) -> None:
        response = route.fetch()
        body = response.text()
        assert 'data-most="50"' in body
        route.fulfill(response=response, body=body.replace('data-most="50"', 'data-most="2"'))

    page.route(bundled_service, limit)
    page.reload()
    fake_api(page)
    choose(page, *photos)
    expect(tiles(page)).to_have_text(["Rose", "Tulip", "Peony"])
    switch(page).check()
    wait_until(page, lambda: page.evaluate(RECORDS) == ["Tulip", "Peony"])
    expect(tiles(page)).to_have_count(3)


def test_a_browser_without_storage_says_so(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = opened(visit, bundled_service, photos[:2])
    page.evaluate("Object.defineProperty(window, 'indexedDB', { value: undefined })")
    # It is turned off again, so `check` would fail.
    switch(page).click()
    expect(page.locator("#keep-note")).to_have_text(message("script.keep_blocked"))
    expect(switch(page)).not_to_be_checked()
    choose(page, photos[2])
    expect(best(page)).to_have_text("Peony")


def test_the_list_breaks_neither_wcag_nor_narrow_screens(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = opened(visit, bundled_service, photos)
    keep(page, 3)
    assert violations(page) == []
    page.reload()
    expect(tiles(page)).to_have_count(3)
    assert violations(page) == []
    for width in (320, 390, 820):
        resize(page, width)
        assert page.evaluate(SCROLL_WIDTH) <= width


def offer(page: Page) -> Locator:
    """Open the menu of a result, and return its button that turns keeping on."""
    page.locator(".menu summary").click()
    return page.get_by_role("button", name=message("keep.switch"))


def test_a_single_photo_can_be_kept(visit: Visit, bundled_service: str, photos: list[Path]) -> None:
    page = visit(bundled_service)
    fake_api(page)
    choose(page, photos[0])
    expect(best(page)).to_have_text("Rose")
    expect(switch(page)).to_be_hidden()
    offer(page).click()
    expect(switch(page)).to_be_checked()
    expect(switch(page)).to_be_focused()
    expect(page.locator(".menu .keep-photos")).to_be_hidden()
    wait_for_records(page, 1)
    page.keyboard.press("Space")
    expect(page.locator(".entries")).to_be_hidden()
    expect(page.locator("#panel")).to_be_focused()
    expect(page.get_by_role("alert")).to_have_text(message("script.keep_off"))
    wait_for_records(page, 0)
    expect(offer(page)).to_be_visible()
    assert violations(page) == []


def test_a_browser_without_storage_says_so_for_a_single_photo(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    fake_api(page)
    choose(page, photos[0])
    expect(best(page)).to_have_text("Rose")
    page.evaluate("Object.defineProperty(window, 'indexedDB', { value: undefined })")
    offer(page).click()
    expect(page.get_by_role("alert")).to_have_text(message("script.keep_blocked"))
    expect(page.locator(".entries")).to_be_hidden()


def test_a_photo_removed_while_it_is_stored_is_not_kept(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = opened(visit, bundled_service, photos[:2])
    keep(page, 2)
    # Holds the end of the next transaction that stores a photo.
    page.evaluate(
        """() => {
            const { prototype } = IDBTransaction;
            const { set } = Object.getOwnPropertyDescriptor(prototype, "oncomplete");
            Object.defineProperty(prototype, "oncomplete", {
                set(call) {
                    set.call(this, this.mode === "readwrite" ? () => setTimeout(call, 1000) : call);
                },
            });
        }"""
    )
    choose(page, photos[2])
    expect(best(page)).to_have_text("Peony")
    page.get_by_role("button", name=message("keep.remove"), exact=True).click()
    expect(tiles(page)).to_have_text(["Rose", "Tulip"])
    wait_for_records(page, 3)
    wait_for_records(page, 2)


@IN_BOTH_BROWSERS
def test_tabs_agree_on_what_is_kept(visit: Visit, bundled_service: str, photos: list[Path]) -> None:
    page = opened(visit, bundled_service, photos[:2])
    other = page.context.new_page()
    other.goto(bundled_service)
    fake_api(other)
    choose(other, *photos[:2])
    expect(tiles(other)).to_have_text(["Rose", "Tulip"])
    keep(page, 4)
    expect(switch(other)).to_be_checked()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=message("keep.remove_all"), exact=True).click()
    wait_for_records(page, 0)
    choose(page, photos[2])
    wait_for_records(page, 1)
    switch(other).uncheck()
    expect(page.locator(".keeping input")).not_to_be_checked()  # hidden, as for any single photo
    wait_for_records(page, 0)


def test_photos_beyond_the_limit_are_at_risk_again(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    page.route(
        bundled_service,
        lambda route: route.fulfill(
            response=(response := route.fetch()),
            body=response.text().replace('data-most="50"', 'data-most="2"'),
        ),
    )
    page.reload()
    fake_api(page)
    choose(page, *photos)
    expect(tiles(page)).to_have_text(["Rose", "Tulip", "Peony"])
    switch(page).check()
    wait_until(page, lambda: page.evaluate(RECORDS) == ["Tulip", "Peony"])
    with page.expect_event("dialog") as warning:
        page.close(run_before_unload=True)
    assert warning.value.type == "beforeunload"
    warning.value.accept()
