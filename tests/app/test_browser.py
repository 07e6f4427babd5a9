"""The page as a person meets it: gunicorn serves, Chromium visits.

Here are the ways in. What it answers is tried in test_browser_answer.py, what goes wrong in
test_browser_problems.py, and who can use it in test_browser_access.py. Every visit ends with a look
at the browser's console: an error of the script, or a breach of the content security policy, fails
the test.
"""

from __future__ import annotations

import base64
import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from tests.conftest import flower_image
from tests.serving import serving

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]

PHOTO = "img.photo"

_CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
_BLOCKED_WORKER = "Service Worker registration blocked by Playwright"
_PATIENCE_MS = 20_000  # a busy machine is slow, not wrong
MAX_BODY_MIB = 1


@pytest.fixture(scope="module")
def bundled_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(
        tmp_path_factory.mktemp("bundled"), PETALSCOPE_MAX_BODY_MIB=str(MAX_BODY_MIB)
    ) as server:
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
        address: str,
        *,
        javascript: bool = True,
        phone: bool = False,
        width: int | None = None,
        language: str = "en-GB",
        installs: bool = False,
    ) -> Page:
        size = (390, 844) if phone else (1280, 800)
        context = browser.new_context(
            viewport={"width": width or size[0], "height": size[1]},
            is_mobile=phone,
            has_touch=phone,
            java_script_enabled=javascript,
            reduced_motion="reduce",
            locale=language,
            # What goes through a service worker, no test could hold or answer itself.
            service_workers="allow" if installs else "block",
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
                and not message.text.startswith(("Failed to load resource", _BLOCKED_WORKER))
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


def choose(page: Page, *paths: Path, field: str = "file") -> None:
    """Choose files as a person would; without the script, also press the button."""
    page.set_input_files(f"#{field}", paths)
    button = page.locator(f"form:has(#{field}) button")
    if button.is_visible():
        button.click()


def names(page: Page) -> list[str]:
    expect(page.locator(".prediction").first).to_be_visible()
    return page.locator(".prediction .name").all_text_contents()


def transfer(page: Page, *paths: Path) -> object:
    """Make what a drop or a paste carries."""
    return page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [data, name] of files) {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
            }
            return transfer;
        }""",
        [[base64.b64encode(path.read_bytes()).decode("ascii"), path.name] for path in paths],
    )


def tiles(page: Page) -> list[str]:
    return page.locator(".tile .label").all_text_contents()


def answer_of(*predictions: tuple[str, float]) -> dict[str, object]:
    """A stranger's answer to POST /predict, where a test must know every figure of it."""
    items = [
        {
            "class_id": "1",
            "name": name,
            "display_name": name,
            "probability": probability,
            "scientific_name": None,
            "flower": "/flowers/1-pink-primrose",
        }
        for name, probability in predictions
    ]
    return {"predictions": items, "verdict": "known"}


def answer_with(page: Page, *predictions: tuple[str, float]) -> None:
    page.route("**/predict*", lambda route: route.fulfill(json=answer_of(*predictions)))


def predicted_by_api(address: str, path: Path) -> list[str]:
    request = urllib.request.Request(
        f"{address}predict", path.read_bytes(), {"Content-Type": "image/jpeg"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return [item["display_name"] for item in json.load(response)["predictions"]]


def drop(page: Page, *paths: Path) -> None:
    carried = {"dataTransfer": transfer(page, *paths)}
    page.dispatch_event("footer", "dragover", carried)
    expect(page.locator("html.dragging")).to_be_attached()
    page.dispatch_event("footer", "drop", carried)
    expect(page.locator("html.dragging")).not_to_be_attached()


def paste(page: Page, *paths: Path) -> None:
    page.evaluate(
        """(clipboardData) => document.body.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData, bubbles: true }))""",
        transfer(page, *paths),
    )


@pytest.mark.parametrize("way", [drop, paste])
def test_a_photo_dropped_or_pasted_is_named(
    visit: Visit, bundled_service: str, photo_file: Path, way: Callable[..., None]
) -> None:
    page = visit(bundled_service)
    way(page, photo_file)
    assert names(page) == predicted_by_api(bundled_service, photo_file)
    expect(page.locator(PHOTO)).to_be_visible()


@pytest.mark.parametrize("way", [drop, choose])
def test_several_photos_are_named_one_after_another(
    visit: Visit,
    bundled_service: str,
    photo_file: Path,
    text_file: Path,
    way: Callable[..., None],
) -> None:
    page = visit(bundled_service)
    at_once: list[int] = []
    under_way: set[Request] = set()

    def sent(request: Request) -> None:
        if request.method == "POST":
            under_way.add(request)
            at_once.append(len(under_way))

    page.on("request", sent)
    page.on("requestfinished", lambda item: under_way.discard(item))
    way(page, photo_file, text_file, photo_file)
    expected = predicted_by_api(bundled_service, photo_file)
    assert names(page) == expected
    expect(page.locator(".tile .label")).to_have_text([expected[0], "Not named", expected[0]])
    expect(page.locator(".tile[aria-current]")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("All photos are done")
    assert at_once == [1, 1, 1]
    # The one that was refused says why, until others are chosen.
    page.locator(".tile", has_text="Not named").click()
    expect(page.get_by_role("alert")).to_contain_text("JPEG")
    choose(page, photo_file)
    expect(page.locator(".tile .label")).to_have_text([expected[0]] * 3)


def hold(page: Page, after: int = 0) -> list[Route]:
    """Let the first requests through, and keep those that follow from their answer."""
    held: list[Route] = []
    seen: list[Route] = []

    def handle(route: Route) -> None:
        seen.append(route)
        if len(seen) > after:
            held.append(route)
        else:
            route.continue_()

    page.route("**/predict*", handle)
    return held


def wait_for_one(page: Page, held: list[Route]) -> None:
    while not held:
        page.wait_for_timeout(20)


def test_cancel_leads_back_to_what_was_before(
    visit: Visit, bundled_service: str, photo_file: Path, text_file: Path
) -> None:
    page = visit(bundled_service)
    held = hold(page)
    choose(page, photo_file, photo_file)
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    cancel.focus()
    with page.expect_event("requestfailed") as given_up:
        page.keyboard.press("Enter")
    assert given_up.value == held[0].request
    expect(page.get_by_role("heading", name="What flower is this?")).to_be_visible()
    expect(page.locator(".plate")).to_be_visible()
    expect(page.get_by_text("Choose a photo")).to_be_visible()
    assert page.title() == "Petalscope"
    assert tiles(page) == []
    expect(page.locator("#words")).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("Cancelled")
    page.unroute("**/predict*")
    choose(page, photo_file)
    expected = names(page)
    title = page.title()
    hold(page)
    choose(page, photo_file)
    cancel.click()
    assert names(page) == expected
    assert page.title() == title
    expect(page.locator(PHOTO)).to_be_visible()


def test_the_rest_can_be_cancelled_while_the_first_is_read(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    hold(page, after=1)
    choose(page, photo_file, photo_file, photo_file)
    expected = names(page)
    expect(page.locator(".tile:disabled")).to_have_count(1)
    page.get_by_role("button", name="Cancel the rest").click()
    assert names(page) == expected
    assert tiles(page) == [expected[0]]
    expect(page.get_by_role("button", name="Cancel the rest")).to_be_hidden()
    # And others can follow.
    page.unroute("**/predict*")
    choose(page, photo_file)
    expect(page.locator(".tile .label")).to_have_text([expected[0]] * 2)


def test_another_photo_takes_the_place_of_one_under_way(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.fulfill(json=answer_of(("rose", 0.9)))
        else:
            held.append(route)

    page.route("**/predict*", hold_the_first)
    choose(page, photo_file)
    expect(page.get_by_role("progressbar")).to_be_visible()
    wait_for_one(page, held)
    with page.expect_event("requestfailed") as given_up:
        drop(page, photo_file)
    assert given_up.value == held[0].request
    assert names(page) == ["rose"]
    assert tiles(page) == ["rose"]


def test_a_name_is_text_and_never_markup(
    visit: Visit, bundled_service: str, photo_file: Path
) -> None:
    page = visit(bundled_service)
    name = "<img src=x onerror=alert(1)>"
    answer_with(page, (name, 0.9))
    choose(page, photo_file)
    assert names(page) == [name]
    expect(page.locator(".result img")).not_to_be_attached()


def test_a_photo_can_be_chosen_by_a_click_on_the_plate(visit: Visit, bundled_service: str) -> None:
    page = visit(bundled_service)
    with page.expect_file_chooser():
        page.click(".plate")


def test_a_photo_can_be_chosen_by_keyboard(visit: Visit, bundled_service: str) -> None:
    page = visit(bundled_service)
    # Around it all, since Chromium needs a moment to hand file choosers over to Playwright.
    with page.expect_file_chooser():
        page.focus(".brand")
        page.keyboard.press("Tab")
        expect(page.locator("#file")).to_be_focused()
        page.keyboard.press("Enter")


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_a_phone_is_offered_its_camera_and_a_desktop_is_not(
    visit: Visit, bundled_service: str, javascript: bool
) -> None:
    phone = visit(bundled_service, javascript=javascript, phone=True)
    expect(phone.get_by_text("Take a photo")).to_be_visible()
    expect(phone.locator("#camera")).to_have_attribute("capture", "environment")
    desktop = visit(bundled_service, javascript=javascript)
    expect(desktop.get_by_text("Take a photo")).to_be_hidden()
