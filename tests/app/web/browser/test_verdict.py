"""The verdict, its pictures and its menu."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask, render_template_string
from PIL import Image
from playwright.sync_api import Page, Route, expect

from app.schemas.responses import Prediction
from app.schemas.serialization import serialize_prediction
from model.data.picture_folder import Picture, write_manifest
from model.imaging.activation_map import COLOUR
from model.ood import Verdict
from tests.app.conftest import MakeApp
from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    SCROLL_WIDTH,
    choose,
    copied_as,
    fake_result,
    in_both_browsers,
    names,
    resize,
    respond_with,
    settle,
    tiles,
    violations,
    wait_for_one,
    wait_until,
)
from tests.app.web.conftest import message
from tests.conftest import TINY_CLASSES, flower_image

pytestmark = pytest.mark.browser

VERDICTS: tuple[Verdict, ...] = ("known", "unsure", "unknown", "unchecked")
PROBABILITIES = (0.8, 0.15, 0.012, 0.009, 0.0)
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
ILLUSTRATED = ("1", "100", "2")  # the first, third and fourth of the tiny classes

Results = Callable[[Verdict], dict[str, Any]]


@pytest.fixture
def illustrated(make_app: MakeApp, tmp_path: Path) -> Flask:
    """Return a service with pictures of some flowers."""
    entries = []
    for class_id in ILLUSTRATED:
        flower_image((300, 400), seed=int(class_id)).save(tmp_path / f"{class_id}.webp")
        credits_of = dict.fromkeys(("title", "author", "work", "year", "licence"), "-")
        entries.append(Picture(file=f"{class_id}.webp", class_id=class_id, **credits_of))
    write_manifest(tmp_path, entries)
    return make_app(pictures=tmp_path)


@pytest.fixture
def results(illustrated: Flask) -> Results:
    """Return a function that makes a result with pictures, as POST /predict returns it."""
    with illustrated.test_request_context():
        predictions = [
            serialize_prediction(item, probability).model_dump(mode="json")
            for item, probability in zip(TINY_CLASSES, PROBABILITIES, strict=False)
        ]
    return lambda verdict: {"predictions": predictions, "verdict": verdict}


def pictures_of(service: Flask) -> Callable[[Route], None]:
    """Return a function that responds with a service's pictures."""
    client = service.test_client()

    def respond(route: Route) -> None:
        path = route.request.url.split("/", 3)[3]
        route.fulfill(body=client.get(f"/{path}").data, content_type="image/webp")

    return respond


def show(page: Page, illustrated: Flask, result: dict[str, Any], photo: Path) -> None:
    """Show a result whose pictures come from another service."""
    page.route("**/pictures/**", pictures_of(illustrated))
    page.route("**/predict*", lambda route: route.fulfill(json=result))
    choose(page, photo)
    names(page)


def compact(markup: str) -> str:
    return re.sub(r">\s+<", "><", markup).strip()


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("verdict", VERDICTS)
def test_script_and_server_render_a_verdict_alike(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    illustrated: Flask,
    results: Results,
    verdict: Verdict,
    language: str,
) -> None:
    result = results(verdict)
    page = visit(bundled_service, language=language)
    show(page, illustrated, result, photo_file)
    with illustrated.test_request_context(headers={"Accept-Language": language}):
        served = render_template_string(
            '{% import "parts.html" as parts %}{{ parts.result(predictions, verdict, 102) }}'
            "<title>{{ parts.label(predictions, verdict) }}</title>",
            predictions=[Prediction.model_validate(item) for item in result["predictions"]],
            verdict=verdict,
        )
    markup, _, title = page.evaluate(
        """(markup) => {
            const template = document.createElement("template");
            template.innerHTML = markup;
            return template.innerHTML;
        }""",
        served,
    ).partition("<title>")
    assert compact(page.inner_html("#panel")) == compact(markup)
    assert page.title() == f"{title.removesuffix('</title>').strip()} · Petalscope"


@IN_BOTH_BROWSERS
@pytest.mark.parametrize(
    ("verdict", "label", "summary"),
    [
        ("unsure", "Camellia?", "Looks like Camellia. Compare before you trust it."),
        (
            "unknown",
            "Unknown flower",
            "Probably none of my 102 flowers. Closest: Camellia",
        ),
    ],
)
def test_a_doubt_is_visible_everywhere(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    verdict: Verdict,
    label: str,
    summary: str,
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("Camellia", 0.93), ("Rose", 0.05), verdict=verdict)
    choose(page, photo_file)
    assert names(page) == ["Camellia", "Rose"]
    expect(page.locator("#status")).to_have_text(summary)
    assert page.title() == f"{label} · Petalscope"
    expect(tiles(page)).to_have_text([label])
    heading = page.get_by_role("heading", level=1)
    assert summary.startswith(heading.inner_text())
    shown = page.locator("#panel").inner_text()
    copied = copied_as(page, "text")
    assert copied.splitlines()[0] == summary.removesuffix(" Camellia")
    assert ("%" in shown, "%" in copied) == (verdict == "unsure",) * 2


@IN_BOTH_BROWSERS
def test_unlikely_names_are_behind_a_disclosure(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("Camellia", 0.98), ("Rose", 0.01), ("Peony", 0.0099))
    choose(page, photo_file)
    assert names(page) == ["Camellia", "Rose", "Peony"]
    expect(page.get_by_role("heading", level=1)).to_have_text("Camellia")
    expect(page.get_by_role("link", name="Rose")).to_be_visible()
    expect(page.get_by_role("link", name="Peony")).to_be_hidden()
    page.get_by_text(message("verdict.others")).click()
    expect(page.get_by_role("link", name="Peony")).to_be_visible()


@pytest.mark.parametrize("verdict", VERDICTS[:3])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_pictures_fit_and_shift_nothing(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    illustrated: Flask,
    results: Results,
    verdict: Verdict,
    width: int,
) -> None:
    page = visit(bundled_service, phone=width < 1000, width=width)
    result = results(verdict)
    page.route("**/predict*", lambda route: route.fulfill(json=result))
    held: list[Route] = []
    page.route("**/pictures/**", lambda route: held.append(route))
    choose(page, photo_file)
    names(page)
    page.locator(".prediction .picture, .compare img").first.scroll_into_view_if_needed()
    boxes = "nodes => nodes.map((node) => JSON.stringify(node.getBoundingClientRect()))"
    texts = page.locator(".result :is(.name, .percent, .warning)")
    before = texts.evaluate_all(boxes)
    wait_for_one(page, held)
    respond = pictures_of(illustrated)
    page.route("**/pictures/**", respond)
    for route in held:
        respond(route)
    loaded = "image => image.decode().then(() => image.naturalWidth)"
    first = page.locator(".prediction .picture, .compare img").first
    assert first.evaluate(loaded) == (300 if verdict != "unknown" else 128)
    assert texts.evaluate_all(boxes) == before
    assert page.evaluate(SCROLL_WIDTH) <= width


def test_a_name_without_a_picture_leaves_no_hole(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    illustrated: Flask,
    results: Results,
) -> None:
    page = visit(bundled_service)
    show(page, illustrated, results("unknown"), photo_file)
    rows = page.locator(".prediction")
    starts = [
        row.locator(".name").evaluate("name => name.getBoundingClientRect().x")
        - row.evaluate("row => row.getBoundingClientRect().x")
        for row in rows.all()
    ]
    assert [start == 0 for start in starts] == [False, True, False, False, True]
    expect(rows.nth(1).locator("img")).to_have_count(0)


@in_both_browsers("verdict", VERDICTS[:3], in_firefox=["unsure"])
def test_a_picture_that_cannot_be_loaded_leaves_no_hole(
    visit: Visit, bundled_service: str, photo_file: Path, results: Results, verdict: Verdict
) -> None:
    # The service of this page has no pictures: they were replaced since the photo was kept.
    page = visit(bundled_service)
    page.route("**/predict*", lambda route: route.fulfill(json=results(verdict)))
    choose(page, photo_file)
    names(page)
    for summary in page.locator(".unlikely summary").all():
        summary.click()
    page.locator(".prediction").last.scroll_into_view_if_needed()
    expect(page.locator("#panel img")).to_have_count(0)
    expect(page.locator("#panel figure")).to_have_count(0)


@IN_BOTH_BROWSERS
@pytest.mark.parametrize("verdict", VERDICTS[:3])
def test_no_verdict_breaks_wcag(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    illustrated: Flask,
    results: Results,
    verdict: Verdict,
) -> None:
    page = visit(bundled_service)
    show(page, illustrated, results(verdict), photo_file)
    for summary in page.locator(".unlikely summary").all():
        summary.click()
    page.locator(".menu summary").click()  # last, because a click elsewhere closes it
    assert violations(page) == []


@IN_BOTH_BROWSERS
@pytest.mark.data
def test_the_heat_map_has_a_legend(visit: Visit, bundled_service: str, data_dir: Path) -> None:
    page = visit(bundled_service)
    choose(page, min((data_dir / "valid" / "54").iterdir()))
    names(page)
    legend = page.locator(".legend")
    expect(legend).to_be_hidden()
    before = page.locator("img.photo").bounding_box()
    page.get_by_label(message("page.explain")).check()
    expect(legend).to_be_visible()
    settle(page)
    assert page.locator("img.photo").bounding_box() == before
    swatch = page.locator(".legend .marked").evaluate(
        "element => getComputedStyle(element, '::before').backgroundColor"
    )
    assert swatch == f"rgb({', '.join(map(str, COLOUR))})"


# -- The menu --------------------------------------------------------------


def test_an_open_menu_is_in_view(visit: Visit, bundled_service: str, photo_file: Path) -> None:
    page = visit(bundled_service)
    respond_with(page, *((f"Rose {number}", 0.2) for number in range(5)))
    choose(page, photo_file)
    names(page)
    opener = page.locator(".menu summary")
    bottom = opener.evaluate("opener => opener.getBoundingClientRect().bottom + scrollY")
    resize(page, 1280, int(bottom) + 10)
    opener.click()
    expect(page.locator(".menu button:visible").last).to_be_in_viewport(ratio=1)


@IN_BOTH_BROWSERS
def test_the_menu_closes_on_escape_and_on_a_click_elsewhere(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    expect(page.locator(".menu")).to_be_hidden()
    respond_with(page, ("Rose", 0.9))
    choose(page, photo_file)
    names(page)
    opener = page.locator(".menu summary")
    button = page.get_by_role("button", name=message("share.copy_text"))
    opener.focus()
    page.keyboard.press("Enter")
    expect(button).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(button).to_be_hidden()
    expect(opener).to_be_focused()
    opener.click()
    expect(button).to_be_visible()
    page.mouse.click(5, 5)
    expect(button).to_be_hidden()
    opener.click()
    choose(page, photo_file)
    expect(tiles(page)).to_have_count(2)
    expect(button).to_be_hidden()


def composed(data: bytes) -> Image.Image:
    """Return a shared picture, after a check that it begins with the photo of `photo_file`."""
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    assert image.width == 1080
    shown = np.asarray(image.crop((0, 0, 1080, 810)).resize((40, 30)), dtype=float)
    expected = np.asarray(flower_image((400, 300)).resize((40, 30)), dtype=float)
    assert np.abs(shown - expected).mean() < 6
    return image


def test_a_picture_of_the_result_can_be_saved(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    respond_with(page, ("Camellia", 0.45), ("Rose", 0.3), verdict="unsure")
    choose(page, photo_file)
    names(page)
    page.locator(".menu summary").click()
    expect(page.get_by_role("button", name=message("share.share"))).to_be_hidden()
    with page.expect_download() as download:
        page.get_by_role("button", name=message("share.save")).click()
    assert download.value.suggested_filename == "Camellia.jpg"
    image = composed(Path(download.value.path()).read_bytes())
    text = image.crop((0, 820, 1080, image.height)).convert("L")
    assert np.ptp(np.asarray(text)) > 100


SHARING = """
    navigator.canShare = ({ files }) => files.every(({ type }) => type === "image/jpeg");
    navigator.share = async ({ files: [file], title, text }) => {
        if (window.dismisses) throw new DOMException("closed", "AbortError");
        if (window.fails) throw new DOMException("no", "NotAllowedError");
        const bytes = [...new Uint8Array(await file.arrayBuffer())];
        window.shared = { bytes, name: file.name, title, text };
    };
"""


def test_a_result_can_be_shared(visit: Visit, bundled_service: str, photo_file: Path) -> None:
    page = visit(bundled_service)
    page.add_init_script(SHARING)
    page.reload()
    respond_with(page, ("Camellia", 0.93), ("Rose", 0.05), verdict="unknown")
    choose(page, photo_file)
    names(page)
    page.locator(".menu summary").click()
    expect(page.get_by_role("button", name=message("share.save"))).to_be_hidden()
    button = page.locator("[data-action=share]")
    button.click()
    wait_until(page, lambda: page.evaluate("window.shared") is not None)
    shared = page.evaluate("window.shared")
    composed(bytes(shared["bytes"]))
    assert shared["title"] == message("verdict.unknown_flower")
    assert shared["name"] == f"{message('verdict.unknown_flower')}.jpg"
    assert "Camellia" in shared["text"]
    assert "%" not in shared["text"]
    # A visitor who closes the dialog is not told of an error.
    page.evaluate("window.dismisses = true")
    button.click()
    expect(button).to_have_text(message("share.share"))
    page.evaluate("window.dismisses = false; window.fails = true")
    button.click()
    expect(button).to_have_text(message("script.not_shared"))


def test_the_picture_of_combined_photos_has_each(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    result = fake_result(("Rose", 0.9))
    page.route(
        "**/predict*",
        lambda route: route.fulfill(json={**result, "photos": [result] * 2}),
    )
    choose(page, photo_file, photo_file)
    expect(tiles(page)).to_have_text(["Rose", "Rose"])
    page.get_by_role("button", name=message("page.combine")).click()
    page.get_by_role("button", name=message("script.combine_now", count=2)).click()
    expect(page.locator(".combined-note")).to_be_visible()
    page.locator(".menu summary").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=message("share.save")).click()
    with Image.open(download.value.path()) as image:
        assert image.width == 1080
        left, right = (
            np.asarray(image.crop((x, 0, x + 540, 540)).resize((20, 20)), dtype=float)
            for x in (0, 540)
        )
    assert np.abs(left - right).mean() < 6


@pytest.mark.parametrize("width", [1280, 1440])
def test_the_candidates_are_side_by_side_beside_the_photo(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    illustrated: Flask,
    results: Results,
    width: int,
) -> None:
    page = visit(bundled_service, width=width)
    show(page, illustrated, results("unsure"), photo_file)
    cards = [card.bounding_box() for card in page.locator(".cards .prediction").all()]
    assert len(cards) == 5
    assert len({card["y"] for card in cards if card}) == 1
    bars = [bar.bounding_box() for bar in page.locator(".cards .bar").all()]
    assert len({bar["y"] for bar in bars if bar}) == 1


@pytest.mark.parametrize("width", [320, 390])
def test_similar_names_are_whole_on_a_phone(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    illustrated: Flask,
    results: Results,
    width: int,
) -> None:
    page = visit(bundled_service, width=width, phone=True)
    result = results("unknown")
    for item in result["predictions"]:
        item["display_name"] = "Sonnenblume"
        item["translations"] = {}
        item["activation_map"] = DOT
    show(page, illustrated, result, photo_file)
    page.get_by_label(message("page.explain")).check()
    lines = page.locator(".unknown .name").evaluate_all(
        """all => all.map((name) => {
            const range = document.createRange();
            range.selectNodeContents(name);
            return range.getClientRects().length;
        })"""
    )
    assert lines == [1] * 5
