"""Selection of a part of a photo: by mouse, fingers and keyboard."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import CDPSession, Locator, Page, expect

from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    PHOTO,
    SCROLL_WIDTH,
    best,
    choose,
    fake_result,
    in_both_browsers,
    names,
    resize,
    settle,
    tiles,
    violations,
)
from tests.app.web.browser.uploads import record_uploads, uploads
from tests.app.web.conftest import message

pytestmark = pytest.mark.browser

LANDSCAPE, PORTRAIT, STRIP = (1600, 1200), (1200, 1600), (1200, 300)
FOUND = ("Rose", "Tulip", "Peony", "Daisy")  # by the whole photo, then by its parts
ON_SCREEN = """() => {
    const layer = document.querySelector(".frame").getBoundingClientRect();
    const square = document.querySelector(".square").getBoundingClientRect();
    const { naturalWidth, naturalHeight } = document.querySelector("img.photo");
    const scale = Math.min(layer.width / naturalWidth, layer.height / naturalHeight);
    const [width, height] = [naturalWidth * scale, naturalHeight * scale];
    return [
        (square.left - layer.left - (layer.width - width) / 2) / width,
        (square.top - layer.top - (layer.height - height) / 2) / height,
        square.width / Math.min(width, height),
    ];
}"""


def write_photo(path: Path, size: tuple[int, int], rotated: bool = False) -> Path:
    """Write a photo whose red is the x and whose green the y position, each from 0 to 255.

    A rotated photo is stored on its side, with the orientation in its EXIF data.
    """
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None, :]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if rotated:
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6  # rotate by 90° clockwise to see it upright
    image.save(path, quality=95, subsampling=0, exif=exif)
    return path


def square_in(data: bytes, size: tuple[int, int]) -> list[float]:
    """Return the square that a crop of `write_photo` shows, as x, y and side in fractions."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.width == image.height
        pixels = np.asarray(image.convert("RGB"), float) / 255
    left, right = pixels[:, :2, 0].mean(), pixels[:, -2:, 0].mean()
    top = pixels[:2, :, 1].mean()
    return [left, top, (right - left) * size[0] / min(size)]


def fake_api(page: Page) -> None:
    left = list(FOUND)
    page.route("**/predict*", lambda route: route.fulfill(json=fake_result((left.pop(0), 0.9))))


def classified(visit: Visit, address: str, path: Path, **options: Any) -> Page:
    """Open the page and classify a photo."""
    page = visit(address, **options)
    fake_api(page)
    record_uploads(page)
    choose(page, path)
    assert names(page) == [FOUND[0]]
    settle(page)
    return page


def open_frame(page: Page) -> Locator:
    page.get_by_role("button", name=message("part.select")).click()
    frame = page.get_by_role("application", name=message("part.frame"))
    expect(frame).to_be_focused()
    return frame


def on_screen(page: Page) -> list[float]:
    """Return the frame as x, y and side in fractions of the photo's width, height, shorter side."""
    found: list[float] = page.evaluate(ON_SCREEN)
    return found


def box(locator: Locator) -> tuple[float, float, float, float]:
    found = locator.bounding_box()
    assert found is not None
    return found["x"], found["y"], found["width"], found["height"]


def drag(page: Page, start: tuple[float, float], by: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0] / 2, start[1] + by[1] / 2)
    page.mouse.move(start[0] + by[0], start[1] + by[1])
    page.mouse.up()


def assert_inside(square: list[float], size: tuple[int, int]) -> None:
    x, y, side = square
    assert -0.002 <= x <= 1.002 - side * min(size) / size[0]
    assert -0.002 <= y <= 1.002 - side * min(size) / size[1]
    assert side <= 1.002


@in_both_browsers(
    "size,rotated",
    [(LANDSCAPE, False), (PORTRAIT, False), (PORTRAIT, True), (STRIP, False)],
    in_firefox=[(PORTRAIT, True)],
)
def test_the_dragged_square_is_cut_out_of_the_original(
    visit: Visit,
    bundled_service: str,
    tmp_path: Path,
    size: tuple[int, int],
    rotated: bool,
) -> None:
    path = write_photo(tmp_path / "photo.jpg", size, rotated)
    page = classified(visit, bundled_service, path)
    frame = open_frame(page)
    # The layer of the frame covers the photo without its padding.
    outer, inner = box(page.locator(PHOTO)), box(page.locator(".frame"))
    assert inner == pytest.approx(
        (outer[0] + 11, outer[1] + 11, outer[2] - 22, outer[3] - 22), abs=1.5
    )
    x, y, width, _ = box(frame)
    drag(page, (x + width / 2, y + width / 2), (40, -30))
    assert box(frame)[2] == pytest.approx(width, abs=1)
    corner = box(frame)
    drag(page, (corner[0], corner[1] + width), (width * 0.3, -width * 0.3))
    shown = on_screen(page)
    assert box(frame)[2] == pytest.approx(max(64, width * 0.7), abs=2)  # 64 is the smallest
    assert_inside(shown, size)
    page.get_by_role("button", name=message("part.ask")).click()
    expect(best(page)).to_have_text("Tulip")
    part = uploads(page)[1]
    assert square_in(part, size) == pytest.approx(shown, abs=0.02)
    with Image.open(io.BytesIO(part)) as image:
        # The photo was sent with 1280 pixels; the crop has those of the original.
        assert image.width == pytest.approx(shown[2] * min(size), abs=3)


def test_the_part_is_listed_beside_the_whole_photo(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    path = write_photo(tmp_path / "photo.jpg", LANDSCAPE)
    page = classified(visit, bundled_service, path)
    choose(page, path)
    expect(tiles(page)).to_have_text(["Rose", "Tulip"])
    page.locator(".tile").first.click()
    open_frame(page)
    page.keyboard.press("Enter")
    expect(tiles(page)).to_have_text(["Rose", "Peony", "Tulip"])
    expect(page.locator("#panel")).to_be_focused()
    part = page.locator(".tile", has_text="Peony")
    expect(part.locator(".of")).to_have_text(message("script.part"))
    expect(part).to_have_attribute("aria-current", "true")
    page.get_by_role("button", name=message("part.whole")).click()
    expect(best(page)).to_have_text("Rose")
    # Another part of the same photo comes after the first one.
    part.click()
    page.get_by_role("button", name=message("part.again")).click()
    expect(page.locator(".square")).to_be_focused()
    expect(best(page)).to_have_text("Rose")
    page.keyboard.press("Enter")
    expect(tiles(page)).to_have_text(["Rose", "Peony", "Daisy", "Tulip"])


def test_another_part_starts_with_the_square_of_the_first(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    page = classified(visit, bundled_service, write_photo(tmp_path / "photo.jpg", PORTRAIT))
    open_frame(page)
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "-"):
        page.keyboard.press(key)
    first = on_screen(page)
    page.keyboard.press("Enter")
    expect(best(page)).to_have_text("Tulip")
    page.get_by_role("button", name=message("part.again")).click()
    expect(page.locator(".square")).to_be_focused()
    assert on_screen(page) == pytest.approx(first, abs=0.005)


@IN_BOTH_BROWSERS
def test_the_keyboard_moves_and_resizes_the_frame(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    page = classified(visit, bundled_service, write_photo(tmp_path / "photo.jpg", LANDSCAPE))
    page.get_by_role("button", name=message("part.select")).focus()
    page.keyboard.press("Enter")
    frame = page.locator(".square")
    expect(frame).to_be_focused()
    expect(frame).to_have_accessible_description(message("part.help"))

    def pressed(key: str) -> list[float]:
        before = on_screen(page)
        page.keyboard.press(key)
        return [after - value for after, value in zip(on_screen(page), before, strict=True)]

    x, y, side = pressed("ArrowRight")
    assert x > 0
    assert (y, side) == pytest.approx((0, 0), abs=0.002)
    x, y, side = pressed("ArrowUp")
    assert y < 0
    assert (x, side) == pytest.approx((0, 0), abs=0.002)
    for key in ("Shift+ArrowRight", "Shift+ArrowDown", "+"):
        assert pressed(key)[2] > 0
    for key in ("Shift+ArrowLeft", "Shift+ArrowUp", "-"):
        assert pressed(key)[2] < 0
    shown = on_screen(page)
    announced = message("script.frame_at", left="#", top="#", side="#")
    expect(page.locator("#status")).to_have_text(
        re.compile(re.escape(announced).replace(r"\#", r"\d+"))
    )
    percents = re.findall(r"\d+", page.locator("#status").inner_text())
    assert [int(percent) / 100 for percent in percents] == pytest.approx(shown, abs=0.01)
    page.keyboard.press("Enter")
    expect(best(page)).to_have_text("Tulip")
    assert square_in(uploads(page)[1], LANDSCAPE) == pytest.approx(shown, abs=0.02)


@pytest.mark.parametrize("size", [LANDSCAPE, PORTRAIT], ids=["landscape", "portrait"])
def test_the_frame_stays_on_the_photo(
    visit: Visit, bundled_service: str, tmp_path: Path, size: tuple[int, int]
) -> None:
    page = classified(visit, bundled_service, write_photo(tmp_path / "photo.jpg", size))
    frame = open_frame(page)
    for by in ((-2000, -2000), (2000, 2000)):
        x, y, width, height = box(frame)
        drag(page, (x + width / 2, y + height / 2), by)
        assert_inside(on_screen(page), size)
        for corner, outwards in (((0, 0), -1), ((1, 1), 1)):
            x, y, width, height = box(frame)
            start = (x + corner[0] * width, y + corner[1] * height)
            drag(page, start, (outwards * 2000, outwards * 2000))
            assert_inside(on_screen(page), size)
    for key in ("ArrowLeft", "ArrowDown", "Shift+ArrowUp"):
        for _ in range(60):
            page.keyboard.press(key)
        assert_inside(on_screen(page), size)
    assert box(frame)[2] >= 44
    for _ in range(40):
        page.keyboard.press("+")
    assert_inside(on_screen(page), size)
    assert on_screen(page)[2] == pytest.approx(1, abs=0.005)


def touch(fingers: CDPSession, kind: str, *points: tuple[float, float]) -> None:
    touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


def test_fingers_move_and_pinch_the_frame(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    path = write_photo(tmp_path / "photo.jpg", PORTRAIT)
    page = classified(visit, bundled_service, path, phone=True)
    frame = open_frame(page)
    fingers = page.context.new_cdp_session(page)
    top = page.evaluate("scrollY")
    x, y, width, _ = box(frame)
    middle = (x + width / 2, y + width / 2)
    touch(fingers, "touchStart", middle)
    touch(fingers, "touchMove", (middle[0] + 10, middle[1] + 15))
    touch(fingers, "touchMove", (middle[0] + 20, middle[1] + 30))
    touch(fingers, "touchEnd")
    assert box(frame)[:3] == pytest.approx((x + 20, y + 30, width), abs=1.5)
    middle = (middle[0] + 20, middle[1] + 30)
    apart = width / 4
    touch(fingers, "touchStart", (middle[0] - apart, middle[1]))
    touch(fingers, "touchStart", (middle[0] - apart, middle[1]), (middle[0] + apart, middle[1]))
    for factor in (0.9, 0.75, 0.6):
        touch(
            fingers,
            "touchMove",
            (middle[0] - apart * factor, middle[1]),
            (middle[0] + apart * factor, middle[1]),
        )
    touch(fingers, "touchEnd")
    assert box(frame)[2] == pytest.approx(width * 0.6, abs=2)
    assert page.evaluate("scrollY") == top
    shown = on_screen(page)
    page.get_by_role("button", name=message("part.ask")).tap()
    expect(best(page)).to_have_text("Tulip")
    assert square_in(uploads(page)[1], PORTRAIT) == pytest.approx(shown, abs=0.02)


def test_clicks_alone_can_move_and_resize_the_frame(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    page = classified(visit, bundled_service, write_photo(tmp_path / "photo.jpg", LANDSCAPE))
    frame = open_frame(page)
    for _ in range(3):
        page.get_by_role("button", name=message("part.smaller")).click()
    smaller = on_screen(page)
    assert smaller[2] < 0.5
    page.get_by_role("button", name=message("part.larger")).click()
    assert on_screen(page)[2] > smaller[2]
    x, y, width, height = box(page.locator(".frame"))
    page.mouse.click(x + width * 0.8, y + height * 0.7)
    x_of_frame, y_of_frame, side, _ = box(frame)
    assert (x_of_frame + side / 2, y_of_frame + side / 2) == pytest.approx(
        (x + width * 0.8, y + height * 0.7), abs=2
    )


@pytest.mark.parametrize("way", ["Escape", "button", "another photo"])
def test_leaving_the_frame_asks_nothing(
    visit: Visit, bundled_service: str, tmp_path: Path, way: str
) -> None:
    path = write_photo(tmp_path / "photo.jpg", LANDSCAPE)
    page = classified(visit, bundled_service, path)
    choose(page, path)
    expect(tiles(page)).to_have_text(["Rose", "Tulip"])
    frame = open_frame(page)
    if way == "Escape":
        page.keyboard.press("Escape")
    elif way == "button":
        page.get_by_role("button", name=message("part.leave"), exact=True).click()
    else:
        page.locator(".tile").first.click()
    expect(frame).not_to_be_attached()
    expect(page.get_by_role("button", name=message("part.ask"))).to_be_hidden()
    select = page.get_by_role("button", name=message("part.select"))
    if way == "another photo":
        expect(best(page)).to_have_text("Rose")
        expect(select).to_be_visible()
    else:
        expect(select).to_be_focused()
    expect(tiles(page)).to_have_count(2)
    assert len(uploads(page)) == 2


def test_combined_photos_and_problems_have_no_frame(
    visit: Visit, bundled_service: str, tmp_path: Path, text_file: Path
) -> None:
    path = write_photo(tmp_path / "photo.jpg", LANDSCAPE)
    page = visit(bundled_service)
    select = page.get_by_role("button", name=message("part.select"))
    expect(select).to_be_hidden()
    choose(page, text_file)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(select).to_be_hidden()
    page.route("**/predict*", lambda route: route.fulfill(json=fake_result(("Rose", 0.9))))
    choose(page, path, path)
    expect(tiles(page)).to_have_text(["Rose", "Rose"])
    expect(select).to_be_visible()
    page.get_by_role("button", name=message("page.combine")).click()
    page.get_by_role("button", name=message("script.combine_now", count=2)).click()
    expect(page.locator(".combined-note")).to_be_visible()
    expect(select).to_be_hidden()


def test_a_lost_original_is_replaced_by_the_photo_that_was_sent(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    page = classified(visit, bundled_service, write_photo(tmp_path / "photo.jpg", LANDSCAPE))
    page.evaluate(
        """() => {
            const decode = window.createImageBitmap;
            window.createImageBitmap = (file, options) =>
                file.name ? Promise.reject(new Error()) : decode(file, options);
        }"""
    )
    open_frame(page)
    shown = on_screen(page)
    page.keyboard.press("Enter")
    expect(best(page)).to_have_text("Tulip")
    assert square_in(uploads(page)[1], LANDSCAPE) == pytest.approx(shown, abs=0.02)


def test_a_photo_that_cannot_be_cropped_is_explained(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    page = classified(visit, bundled_service, write_photo(tmp_path / "photo.jpg", LANDSCAPE))
    page.evaluate("() => { window.createImageBitmap = () => Promise.reject(new Error()); }")
    open_frame(page)
    page.keyboard.press("Enter")
    expect(page.get_by_text(message("part.failed")).first).to_be_visible()
    assert names(page) == ["Rose"]
    assert len(uploads(page)) == 1


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_frame_breaks_neither_wcag_nor_narrow_screens(
    visit: Visit, bundled_service: str, tmp_path: Path, language: str
) -> None:
    path = write_photo(tmp_path / "photo.jpg", PORTRAIT)
    page = classified(visit, bundled_service, path, phone=True, language=language)
    assert violations(page) == []
    page.locator(".part .select").click()
    expect(page.locator(".square")).to_be_focused()
    assert violations(page) == []
    for width in (320, 390, 820, 1440):
        resize(page, width)
        assert page.evaluate(SCROLL_WIDTH) <= width
    for button in page.locator(".frame-tools button").all():
        assert box(button)[3] >= 44
