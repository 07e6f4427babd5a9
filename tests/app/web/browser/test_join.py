"""Several photos of one plant joined into one answer, on the page in Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    PHOTO,
    SCROLL_WIDTH,
    answer_of,
    best,
    choose,
    hold,
    names,
    tiles,
    violations,
    wait_for_one,
)
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


def answer(page: Page, together: str = "Camellia") -> list[int]:
    """Name the photos in their order, and those that are joined `together`; tell how many were."""
    joined: list[int] = []
    left = list(ALONE)

    def alone(name: str) -> dict[str, object]:
        return answer_of((name, 0.6), ("Daisy", 0.3))

    def handle(route: object) -> None:
        request = route.request  # type: ignore[attr-defined]
        if "combine=1" not in request.url:
            route.fulfill(json=alone(left.pop(0)))  # type: ignore[attr-defined]
            return
        # Playwright does not see the files of a form; the page tells their number.
        count = page.evaluate("window.sent")
        joined.append(count)
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
    return joined


def wait_for_all(page: Page, count: int) -> None:
    expect(tiles(page)).to_have_text(list(ALONE[:count]))


@pytest.mark.parametrize(
    ("phone", "language", "begin", "now", "told"),
    [
        (False, "en-GB", "Several show one plant", "Name 3 together", "3 photos together"),
        (True, "de-DE", "Mehrere zeigen eine Pflanze", "3 zusammen bestimmen", "3 Fotos zusammen"),
    ],
    ids=["desktop", "phone, German"],
)
def test_photos_of_one_plant_get_one_answer(
    visit: Visit,
    bundled_service: str,
    photos: list[Path],
    phone: bool,
    language: str,
    begin: str,
    now: str,
    told: str,
) -> None:
    page = visit(bundled_service, phone=phone, language=language)
    joined = answer(page)
    choose(page, *photos[:3])
    wait_for_all(page, 3)
    page.get_by_role("button", name=begin).click()
    expect(page.locator(".tile[aria-pressed=true]")).to_have_count(3)
    page.get_by_role("button", name=now).click()
    expect(best(page)).to_have_text("Camellia")
    assert joined == [3]
    assert page.title() == "Camellia · Petalscope"
    expect(page.locator(".joined-note")).to_contain_text("3")
    expect(page.locator(PHOTO)).to_have_count(3)
    expect(tiles(page)).to_have_text(["Rose", "Tulip", "Peony", "Camellia"])
    expect(page.locator(".tile[aria-current]")).to_contain_text(told)
    widths = "tiles => tiles.map((tile) => tile.offsetWidth)"
    assert len(set(page.locator(".tile").evaluate_all(widths))) == 1
    # Not innerWidth, which grows with the content on a phone.
    assert page.evaluate(SCROLL_WIDTH) == (390 if phone else 1280)
    # Each photo's own answer is a press away, and the joint one from there.
    page.locator(".tile", has_text="Tulip").click()
    expect(best(page)).to_have_text("Tulip")
    expect(page.locator(PHOTO)).to_have_count(1)
    page.locator(".tile", has_text=told).click()
    expect(best(page)).to_have_text("Camellia")
    expect(page.locator(PHOTO)).to_have_count(3)


def test_the_real_service_joins_them(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    choose(page, *photos[:2])
    page.get_by_role("button", name="Several show one plant").click()
    page.get_by_role("button", name="Name 2 together").click()
    expect(page.locator(".tile .of").last).to_have_text("2 photos together")
    assert len(names(page)) == 5
    expect(page.get_by_label("Show where I looked")).to_be_hidden()
    assert violations(page) == []


def test_they_are_chosen_by_keyboard_and_heard(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    joined = answer(page)
    choose(page, *photos[:3])
    wait_for_all(page, 3)
    page.get_by_role("button", name="Several show one plant").focus()
    page.keyboard.press("Enter")
    first = page.get_by_role("button", name="Rose", pressed=True)
    expect(first).to_be_focused()
    expect(page.get_by_role("heading", name="Which show the same plant?")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Rose", pressed=False)).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("Name 2 together")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_text("Choose 2 to 5.")
    expect(page.get_by_role("button", name="Choose 2 to 5.")).to_be_disabled()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Name 2 together").focus()
    page.keyboard.press("Enter")
    expect(best(page)).to_have_text("Camellia")
    assert joined == [2]
    expect(page.locator("#words")).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("Most likely Camellia, 60.0\xa0%")


def test_never_mind_leaves_all_as_it_was(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    answer(page)
    choose(page, *photos[:2])
    wait_for_all(page, 2)
    begin = page.get_by_role("button", name="Several show one plant")
    begin.click()
    page.get_by_role("button", name="Never mind").click()
    expect(begin).to_be_focused()
    expect(page.locator(".tile[aria-pressed]")).to_have_count(0)
    expect(page.get_by_role("heading", name="This visit")).to_be_visible()
    expect(best(page)).to_have_text("Rose")


def test_of_more_than_five_the_last_are_offered_and_no_more_are_sent(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    joined = answer(page)
    choose(page, *photos)
    wait_for_all(page, 6)
    page.get_by_role("button", name="Several show one plant").click()
    expect(page.locator(".tile[aria-pressed=false]")).to_have_text(["Rose"])
    page.locator(".tile", has_text="Rose").click()
    expect(page.get_by_role("button", name="Choose 2 to 5.")).to_be_disabled()
    page.locator(".tile", has_text="Tulip").click()
    page.get_by_role("button", name="Name 5 together").click()
    expect(best(page)).to_have_text("Camellia")
    assert joined == [5]


def test_one_photo_or_one_that_is_refused_is_nothing_to_join(
    visit: Visit, bundled_service: str, photos: list[Path], text_file: Path
) -> None:
    page = visit(bundled_service)
    begin = page.get_by_role("button", name="Several show one plant")
    choose(page, photos[0], text_file)
    expect(tiles(page).last).to_have_text("Not named")
    expect(begin).to_be_hidden()
    choose(page, photos[1])
    expect(begin).to_be_visible()
    # Nor are joined ones.
    begin.click()
    page.get_by_role("button", name="Name 2 together").click()
    expect(page.locator(".tile")).to_have_count(3)
    names(page)
    begin.click()
    expect(page.locator(".tile[aria-pressed]")).to_have_count(2)
    expect(page.locator(".tile").last).to_be_disabled()


def test_a_joint_answer_can_be_cancelled_or_tried_again(
    visit: Visit, bundled_service: str, photos: list[Path]
) -> None:
    page = visit(bundled_service)
    joined = answer(page)
    choose(page, *photos[:2])
    wait_for_all(page, 2)
    held = hold(page)

    def join() -> None:
        page.get_by_role("button", name="Several show one plant").click()
        page.get_by_role("button", name="Name 2 together").click()
        expect(page.get_by_role("progressbar")).to_be_visible()

    join()
    wait_for_one(page, held)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(best(page)).to_have_text("Rose")
    expect(tiles(page)).to_have_text(["Rose", "Tulip"])
    join()
    while len(held) < 2:
        page.wait_for_timeout(20)
    held[1].abort()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/predict*", None)
    assert joined == []
    answer(page)
    page.get_by_role("button", name="Try again").click()
    expect(best(page)).to_have_text("Camellia")
