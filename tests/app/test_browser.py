"""The page as a person meets it: gunicorn serves, Chromium visits.

What the page does is tried with a tiny model, which answers at once; what it answers is tried with
the bundled checkpoint and real photos. Every visit ends with a look at the browser's console: an
error of the script, or a breach of the content security policy, fails the test.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import jinja2
import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from model.known import KnownRule
from tests.conftest import ROOT, flower_image
from tests.rigged import always, save_rigged_checkpoint
from tests.serving import serving

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]

PHOTO = "img.photo:not(.explained)"

_CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
_PATIENCE_MS = 20_000  # a busy machine is slow, not wrong
_MAX_BODY_MIB = 1
# A stranger's answer to POST /predict, where a test must know every figure of it.
_LONG_NAMES = ("hard-leaved pocket orchid", "prince of wales feathers", "colt's foot")
_PROBABILITIES = (1.0, 0.9995, 0.99949, 0.94131, 0.5, 0.0381, 0.001, 0.00099, 0.0)


@pytest.fixture(scope="module")
def tiny_service(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(
        tmp_path_factory.mktemp("tiny"),
        PETALSCOPE_CHECKPOINT=str(tiny_checkpoint),
        PETALSCOPE_MAX_BODY_MIB=str(_MAX_BODY_MIB),
    ) as server:
        yield server.address


@pytest.fixture(scope="module")
def bundled_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("bundled")) as server:
        yield server.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=_CHROMIUM_ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open an address as a device with or without JavaScript."""
    complaints: list[str] = []
    contexts = []

    def open_page(
        address: str, *, javascript: bool = True, phone: bool = False, width: int | None = None
    ) -> Page:
        size = (390, 844) if phone else (1280, 800)
        context = browser.new_context(
            viewport={"width": width or size[0], "height": size[1]},
            is_mobile=phone,
            has_touch=phone,
            java_script_enabled=javascript,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text)
                # The browser's own note of an answer of 400 and above, or of a broken connection.
                if message.type in ("error", "warning")
                and not message.text.startswith("Failed to load resource")
                else None
            ),
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def photo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    flower_image().save(path)
    return path


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("letter") / "letter.txt"
    path.write_text("Dear Sir, I know not what flower this is.")
    return path


def _choose(page: Page, path: Path, field: str = "file") -> None:
    """Choose a file as a person would; without the script, also press the button."""
    page.set_input_files(f"#{field}", path)
    button = page.locator(f"form:has(#{field}) button")
    if button.is_visible():
        button.click()


def _names(page: Page) -> list[str]:
    expect(page.locator(".prediction").first).to_be_visible()
    return page.locator(".prediction .name").all_text_contents()


def _transfer(page: Page, path: Path) -> object:
    """Make what a drop or a paste carries."""
    return page.evaluate_handle(
        """([data, name]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
            return transfer;
        }""",
        [base64.b64encode(path.read_bytes()).decode("ascii"), path.name],
    )


def _answer_with(page: Page, *predictions: tuple[str, float]) -> None:
    body = [{"class_id": "1", "name": name, "probability": p} for name, p in predictions]
    page.route(
        "**/predict*", lambda route: route.fulfill(json={"predictions": body, "verdict": "known"})
    )


def _predicted_by_api(address: str, path: Path) -> list[str]:
    request = urllib.request.Request(
        f"{address}predict", path.read_bytes(), {"Content-Type": "image/jpeg"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return [item["name"] for item in json.load(response)["predictions"]]


@pytest.mark.data
@pytest.mark.parametrize("class_id", ["21", "54"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_a_real_photo_is_named(
    visit: Visit, bundled_service: str, data_dir: Path, class_id: str, phone: bool, javascript: bool
) -> None:
    expected = json.loads((data_dir / "cat_to_name.json").read_text())[class_id]
    flower = min((data_dir / "valid" / class_id).iterdir())
    page = visit(bundled_service, javascript=javascript, phone=phone)
    _choose(page, flower, "camera" if phone else "file")
    names = _names(page)
    assert names[0] == expected
    assert len(names) == 5
    percents = page.locator(".prediction .percent").all_text_contents()
    assert all(re.fullmatch(r"([<>]\xa0)?\d+\.\d\xa0%", percent) for percent in percents)
    assert page.locator(PHOTO).evaluate("photo => photo.decode().then(() => true)")
    assert expected in page.title().lower()


@pytest.mark.data
@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_a_switch_shows_where_the_model_looked(
    visit: Visit, bundled_service: str, data_dir: Path, javascript: bool
) -> None:
    page = visit(bundled_service, javascript=javascript)
    _choose(page, min((data_dir / "valid" / "54").iterdir()))
    _names(page)
    photo, explained = page.locator(PHOTO), page.locator("img.photo.explained")
    expect(photo).to_be_visible()
    expect(explained).to_be_hidden()
    plain = photo.bounding_box()
    page.get_by_label("Show where I looked").check()
    expect(explained).to_be_visible()
    expect(photo).to_be_hidden()
    assert plain is not None
    assert explained.bounding_box() == pytest.approx(plain, abs=2)
    page.get_by_label("Show where I looked").uncheck()
    expect(photo).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_a_photo_of_no_known_flower_is_told_in_words(
    visit: Visit, tmp_path: Path, photo_file: Path, javascript: bool
) -> None:
    rule = KnownRule("max_logit", 99.0)
    path = save_rigged_checkpoint(tmp_path / "rigged.safetensors", always(2), known_rule=rule)
    with serving(tmp_path, PETALSCOPE_CHECKPOINT=str(path)) as server:
        page = visit(server.address, javascript=javascript)
        _choose(page, photo_file)
        assert len(_names(page)) == 5
        heading = page.get_by_role("heading")
        expect(heading).to_contain_text("This may not be one of the 6 flowers I know")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_dropped_or_pasted_is_named(
    visit: Visit, tiny_service: str, photo_file: Path, way: str
) -> None:
    page = visit(tiny_service)
    transfer = _transfer(page, photo_file)
    if way == "drop":
        page.dispatch_event("footer", "dragover", {"dataTransfer": transfer})
        expect(page.locator("html.dragging")).to_be_attached()
        page.dispatch_event("footer", "drop", {"dataTransfer": transfer})
        expect(page.locator("html.dragging")).not_to_be_attached()
    else:
        page.evaluate(
            """(clipboardData) => document.body.dispatchEvent(
                new ClipboardEvent("paste", { clipboardData, bubbles: true }))""",
            transfer,
        )
    assert _names(page) == _predicted_by_api(tiny_service, photo_file)
    expect(page.locator(PHOTO)).to_be_visible()


def test_the_script_draws_what_the_server_draws(
    visit: Visit, tiny_service: str, photo_file: Path
) -> None:
    drawn = []
    for javascript in (True, False):
        page = visit(tiny_service, javascript=javascript)
        _choose(page, photo_file)
        _names(page)
        drawn.append((re.sub(r">\s+<", "><", page.inner_html("#words")).strip(), page.title()))
    assert drawn[0] == drawn[1]


def test_percentages_read_the_same_from_script_and_server(
    visit: Visit, tiny_service: str, photo_file: Path
) -> None:
    page = visit(tiny_service)
    _answer_with(page, *(("rose", probability) for probability in _PROBABILITIES))
    _choose(page, photo_file)
    _names(page)
    loader = jinja2.FileSystemLoader(ROOT / "app" / "templates")
    parts = jinja2.Environment(loader=loader, autoescape=True).get_template("parts.html").module
    served = [html.unescape(str(parts.percent(p))) for p in _PROBABILITIES]  # type: ignore[attr-defined]
    assert page.locator(".percent").all_text_contents() == served
    assert (served[0], served[3], served[-1]) == (">\xa099.9\xa0%", "94.1\xa0%", "<\xa00.1\xa0%")


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_a_file_that_is_no_photo_is_told_readably(
    visit: Visit, tiny_service: str, text_file: Path, photo_file: Path, javascript: bool
) -> None:
    page = visit(tiny_service, javascript=javascript)
    _choose(page, text_file)
    box = page.get_by_role("alert")
    expect(box).to_contain_text("JPEG")
    expect(box.get_by_role("heading")).not_to_be_empty()
    expect(page.locator(".retry")).to_be_hidden()
    expect(page.locator(".plate")).to_be_visible()
    _choose(page, photo_file)
    assert len(_names(page)) == 5
    expect(page.get_by_role("alert")).not_to_be_attached()


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_a_photo_that_is_too_large_is_told_with_the_limit(
    visit: Visit, tiny_service: str, tmp_path: Path, javascript: bool
) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(b"\xff\xd8\xff" + bytes(_MAX_BODY_MIB * 2**20))
    page = visit(tiny_service, javascript=javascript)
    _choose(page, large)
    expect(page.get_by_role("alert")).to_contain_text("1 MiB")


def test_a_broken_connection_is_told_and_can_be_tried_again(
    visit: Visit, tiny_service: str, photo_file: Path
) -> None:
    page = visit(tiny_service)
    page.route("**/predict*", lambda route: route.abort())
    _choose(page, photo_file)
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.locator(PHOTO)).to_be_visible()
    page.unroute("**/predict*")
    page.get_by_role("button", name="Try again").click()
    assert len(_names(page)) == 5


def test_an_answer_that_is_not_ours_is_told_and_can_be_tried_again(
    visit: Visit, tiny_service: str, photo_file: Path
) -> None:
    page = visit(tiny_service)
    page.route("**/predict*", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    _choose(page, photo_file)
    expect(page.get_by_role("alert")).to_contain_text("Try again in a moment")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_another_photo_takes_the_place_of_one_under_way(
    visit: Visit, tiny_service: str, photo_file: Path
) -> None:
    page = visit(tiny_service)
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            rose = [{"name": "rose", "probability": 0.9}]
            route.fulfill(json={"predictions": rose, "verdict": "known"})
        else:
            held.append(route)

    page.route("**/predict*", hold_the_first)
    _choose(page, photo_file)
    expect(page.get_by_role("progressbar")).to_be_visible()
    with page.expect_event("requestfailed") as given_up:
        _choose(page, photo_file)
    assert given_up.value == held[0].request
    assert _names(page) == ["rose"]


def test_a_name_is_text_and_never_markup(visit: Visit, tiny_service: str, photo_file: Path) -> None:
    page = visit(tiny_service)
    name = "<img src=x onerror=alert(1)>"
    _answer_with(page, (name, 0.9))
    _choose(page, photo_file)
    assert _names(page) == [name]
    expect(page.locator(".result img")).not_to_be_attached()


def test_a_photo_can_be_chosen_by_a_click_on_the_plate(visit: Visit, tiny_service: str) -> None:
    page = visit(tiny_service)
    with page.expect_file_chooser():
        page.click(".plate")


def test_a_photo_can_be_chosen_by_keyboard(visit: Visit, tiny_service: str) -> None:
    page = visit(tiny_service)
    # Around it all, since Chromium needs a moment to hand file choosers over to Playwright.
    with page.expect_file_chooser():
        page.focus(".brand")
        page.keyboard.press("Tab")
        expect(page.locator("#file")).to_be_focused()
        page.keyboard.press("Enter")


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_a_phone_is_offered_its_camera_and_a_desktop_is_not(
    visit: Visit, tiny_service: str, javascript: bool
) -> None:
    phone = visit(tiny_service, javascript=javascript, phone=True)
    expect(phone.get_by_text("Take a photo")).to_be_visible()
    expect(phone.locator("#camera")).to_have_attribute("capture", "environment")
    desktop = visit(tiny_service, javascript=javascript)
    expect(desktop.get_by_text("Take a photo")).to_be_hidden()


@pytest.mark.parametrize("width", [320, 390, 736, 1280, 3840])
def test_nothing_is_wider_than_the_screen(
    visit: Visit, tiny_service: str, photo_file: Path, text_file: Path, width: int
) -> None:
    page = visit(tiny_service, phone=width < 1000, width=width)
    # Not innerWidth, which grows with the content on a phone.
    content_width = "document.documentElement.scrollWidth"
    assert page.evaluate(content_width) <= width
    _choose(page, text_file)
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.evaluate(content_width) <= width
    _answer_with(page, *((name, 0.3) for name in _LONG_NAMES))
    _choose(page, photo_file)
    _names(page)
    assert page.evaluate(content_width) <= width


@pytest.mark.parametrize("size", [(16, 16), (1200, 40), (40, 1200), (2000, 3000)])
def test_a_photo_of_any_shape_is_shown_whole_beside_its_names(
    visit: Visit, tiny_service: str, tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "photo.jpg"
    flower_image(size).save(path)
    page = visit(tiny_service)
    _choose(page, path)
    _names(page)
    seen = page.locator(PHOTO).bounding_box()
    words = page.locator(".words").bounding_box()
    assert seen is not None
    assert words is not None
    assert seen["x"] >= 0
    assert seen["x"] + seen["width"] <= words["x"]
    assert page.evaluate("document.documentElement.scrollHeight") == 800


def test_an_unknown_address_leads_back_to_the_page(visit: Visit, tiny_service: str) -> None:
    page = visit(f"{tiny_service}nothing/here")
    expect(page.get_by_role("alert")).to_contain_text("/nothing/here")
    page.get_by_role("link", name="Back").click()
    expect(page.get_by_role("heading", name="What flower is this?")).to_be_visible()
