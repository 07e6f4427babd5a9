"""Results of the bundled checkpoint, with and without JavaScript."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from playwright.sync_api import Page, expect

from app.web.translations import format_percent
from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    PHOTO,
    WITH_AND_WITHOUT_SCRIPTS,
    best,
    choose,
    copied_as,
    fake_result,
    let_time_pass,
    names,
    respond_with,
    settle,
    tiles,
)
from tests.app.web.browser.uploads import record_uploads, uploads
from tests.app.web.conftest import message
from tests.conftest import flower_image

pytestmark = pytest.mark.browser

PROBABILITIES = (1.0, 0.9995, 0.99949, 0.94131, 0.5, 0.0381, 0.001, 0.00099, 0.0)


@pytest.fixture
def flower(data_dir: Path) -> Any:
    """Find a photo of a class."""
    return lambda class_id: min((data_dir / "valid" / class_id).iterdir())


@pytest.mark.data
@pytest.mark.parametrize(("class_id", "phone"), [("21", False), ("54", True)])
@WITH_AND_WITHOUT_SCRIPTS
def test_a_real_photo_is_classified(
    visit: Visit,
    bundled_service: str,
    data_dir: Path,
    flower: Any,
    class_id: str,
    phone: bool,
    javascript: bool,
) -> None:
    expected = json.loads((data_dir / "cat_to_name.json").read_text())[class_id].capitalize()
    page = visit(bundled_service, javascript=javascript, phone=phone)
    choose(page, flower(class_id), field="camera" if phone else "file")
    found = names(page)
    assert found[0] == expected
    assert len(found) == 5
    percents = page.locator(".prediction .percent").all_text_contents()
    assert all(re.fullmatch(r"[<>]?\d+\.\d%", percent) for percent in percents)
    assert page.locator(PHOTO).evaluate("photo => photo.decode().then(() => true)")
    assert page.title() == f"{expected} · Petalscope"


@pytest.mark.data
@WITH_AND_WITHOUT_SCRIPTS
def test_each_name_has_a_heat_map(
    visit: Visit, bundled_service: str, flower: Any, javascript: bool
) -> None:
    page = visit(bundled_service, javascript=javascript)
    choose(page, flower("54"))
    found = names(page)
    maps = page.locator("img.map")
    expect(maps).to_have_count(5)
    expect(page.locator("img.map:visible")).to_have_count(0)
    expect(page.get_by_role("radio")).to_have_count(0)
    page.get_by_label(message("page.explain")).check()
    radios = page.get_by_role("radio")
    expect(radios).to_have_count(1)
    page.get_by_text(message("verdict.others")).click()
    expect(radios).to_have_count(5)
    expect(radios.first).to_be_checked()
    expect(maps.nth(0)).to_be_visible()
    # Select by a click on the row, then by the keyboard.
    page.locator(".prediction").nth(2).click()
    expect(page.get_by_role("radio", name=message("page.look", name=found[2]))).to_be_checked()
    expect(page.locator("img.map:visible")).to_have_attribute("alt", re.compile(found[2]))
    page.keyboard.press("ArrowDown")
    expect(radios.nth(3)).to_be_checked()
    expect(maps.nth(3)).to_be_visible()
    expect(page.locator("img.map:visible")).to_have_count(1)
    settle(page)
    assert maps.nth(3).bounding_box() == pytest.approx(page.locator(PHOTO).bounding_box(), abs=1)
    page.get_by_label(message("page.explain")).uncheck()
    expect(page.locator("img.map:visible")).to_have_count(0)


@pytest.mark.data
@WITH_AND_WITHOUT_SCRIPTS
def test_a_result_links_to_its_flowers(
    visit: Visit, bundled_service: str, flower: Any, javascript: bool
) -> None:
    page = visit(bundled_service, javascript=javascript)
    choose(page, flower("54"))
    found = names(page)
    expect(page.locator(".latin")).to_have_text("Helianthus annuus")
    sizes = page.locator(".name").evaluate_all(
        "names => names.map((name) => parseFloat(getComputedStyle(name).fontSize))"
    )
    assert sizes[0] > 1.8 * sizes[1]
    for name, address in (
        ("Wikipedia", "https://en.wikipedia.org/w/index.php?search=Helianthus+annuus"),
        ("GBIF", "https://www.gbif.org/species/search?q=Helianthus+annuus"),
    ):
        expect(page.get_by_role("link", name=name)).to_have_attribute("href", address)
    page.get_by_text(message("verdict.others")).click()
    page.get_by_role("link", name=found[1]).click()
    expect(page).to_have_url(re.compile(r"/flowers/\d+-[a-z-]+$"))
    expect(page.get_by_role("heading", name=found[1])).to_be_visible()


@WITH_AND_WITHOUT_SCRIPTS
def test_an_unknown_verdict_is_shown(
    visit: Visit, bundled_service: str, photo_file: Path, javascript: bool
) -> None:
    page = visit(bundled_service, javascript=javascript)
    choose(page, photo_file)
    assert len(names(page)) == 5
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(message("verdict.unknown", count=102))


@IN_BOTH_BROWSERS
@pytest.mark.data
def test_a_result_can_be_copied(visit: Visit, bundled_service: str, flower: Any) -> None:
    page = visit(bundled_service)
    choose(page, flower("54"))
    found = names(page)
    lines = copied_as(page, "text").splitlines()
    expect(page.locator("#status")).to_have_text(message("script.copied"))
    assert lines[0] == message("verdict.most_likely")
    assert re.fullmatch(r"Sunflower \(Helianthus annuus\): .+%", lines[1])
    assert len(lines) == 6
    copied = json.loads(copied_as(page, "json"))
    assert [item["display_name"] for item in copied["predictions"]] == found
    assert "activation_map" not in copied["predictions"][0]
    # Browsers have no Clipboard API over plain HTTP.
    let_time_pass(page)
    as_text = page.get_by_role("button", name=message("share.copy_text"))
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    as_text.click()
    done = page.get_by_role("button", name=message("script.copied"))
    expect(done).to_be_focused()


@pytest.mark.data
def test_earlier_results_can_be_shown_again(
    visit: Visit, bundled_service: str, flower: Any
) -> None:
    page = visit(bundled_service, phone=True)
    choose(page, flower("54"))
    names(page)
    expect(page.locator(".entries")).to_be_hidden()
    choose(page, flower("21"), flower("77"))
    expect(best(page)).to_have_text("Fire lily")
    expect(tiles(page)).to_have_text(["Sunflower", "Fire lily", "Passion flower"])
    shown = page.locator(PHOTO).get_attribute("src")
    settle(page)
    pictures = page.locator(".tile img")
    assert pictures.evaluate_all("all => all.map((picture) => picture.naturalWidth)") == [128] * 3
    tile = page.get_by_role("button", name="Sunflower")
    tile.tap()
    expect(tile).to_have_attribute("aria-current", "true")
    expect(best(page)).to_have_text("Sunflower")
    assert page.locator(PHOTO).get_attribute("src") != shown
    assert page.locator(PHOTO).evaluate("photo => photo.decode().then(() => true)")
    page.reload()
    expect(page.locator(".entries")).to_be_hidden()


def sent(page: Page, path: Path) -> bytes:
    """Choose a photo, wait for its result and return the uploaded bytes."""
    record_uploads(page)
    choose(page, path)
    names(page)
    return uploads(page)[-1]


@IN_BOTH_BROWSERS
@pytest.mark.data
def test_a_large_photo_is_downscaled_before_the_upload(
    visit: Visit, bundled_service: str, flower: Any, tmp_path: Path
) -> None:
    page = visit(bundled_service)
    large = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90° clockwise
    with Image.open(flower("54")) as image:
        image.rotate(90, expand=True).resize((4000, 3000)).save(large, quality=95, exif=exif)
    assert large.stat().st_size > 2**20  # above the limit of the service
    data = sent(page, large)
    assert names(page)[0] == "Sunflower"
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        assert image.size == (960, 1280)
        assert image.getexif().get(0x0112, 1) == 1
    assert len(data) < 400_000
    settle(page)
    assert page.locator(PHOTO).evaluate("photo => photo.naturalHeight") == 1280


@pytest.mark.data
def test_a_small_photo_is_sent_unchanged(visit: Visit, bundled_service: str, flower: Any) -> None:
    assert sent(visit(bundled_service), flower("54")) == flower("54").read_bytes()


def test_a_long_strip_keeps_a_minimum_side(
    visit: Visit, bundled_service: str, tmp_path: Path
) -> None:
    strip = tmp_path / "strip.png"
    flower_image((2600, 500)).save(strip)
    with Image.open(io.BytesIO(sent(visit(bundled_service), strip))) as image:
        assert image.size == (2080, 400)


@pytest.mark.data
@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
def test_script_and_server_render_the_same_result(
    visit: Visit, bundled_service: str, flower: Any, language: str
) -> None:
    # A cultivar, a flower without a German name, and one without a scientific name.
    chosen = {
        "56": ("Bishop of Llandaff", "Dahlie ‘Bishop of Llandaff’"),
        "61": ("Cautleya spicata", "Cautleya spicata"),
        "99": ("Bromelia", "Bromelie"),
    }
    pages = [
        visit(bundled_service, javascript=javascript, language=language)
        for javascript in (True, False)
    ]
    for class_id, translated in chosen.items():
        name = translated[language == "de-DE"]
        drawn = []
        for page in pages:
            page.goto(bundled_service)
            choose(page, flower(class_id))
            names(page)
            page.mouse.move(0, 0)
            markup = re.sub(r">\s+<", "><", page.inner_html("#panel")).strip()
            drawn.append((markup, page.title()))
        assert drawn[0] == drawn[1]
        assert drawn[0][1] == f"{name} · Petalscope"


@IN_BOTH_BROWSERS
@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en-GB", (">99.9%", "94.1%", "<0.1%")),
        ("de-AT", (">\xa099,9\xa0%", "94,1\xa0%", "<\xa00,1\xa0%")),
        ("fr-FR", (">\xa099,9\u202f%", "94,1\u202f%", "<\xa00,1\u202f%")),
    ],
)
def test_script_and_server_format_the_same_percentages(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    app: Flask,
    language: str,
    expected: tuple[str, ...],
) -> None:
    page = visit(bundled_service, language=language)
    respond_with(page, *(("rose", probability) for probability in PROBABILITIES))
    choose(page, photo_file)
    names(page)
    with app.test_request_context(headers={"Accept-Language": language}):
        served = [format_percent(probability) for probability in PROBABILITIES]
    assert page.locator(".percent").all_text_contents() == served
    assert (served[0], served[3], served[-1]) == expected


def test_a_model_without_heat_maps_has_no_switch(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    page.route("**/predict*", lambda route: route.fulfill(json=fake_result(("rose", 0.9))))
    choose(page, photo_file)
    assert names(page) == ["rose"]
    expect(tiles(page)).to_have_text(["rose"])
    expect(page.get_by_label(message("page.explain"))).to_be_hidden()
