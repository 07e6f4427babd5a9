"""Identification on the visitor's device: download, offline use, update, failures."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Locator, Page, expect

from tests.app.conftest import MakeApp
from tests.app.web.browser.conftest import Visit
from tests.app.web.browser.page import (
    IN_BOTH_BROWSERS,
    PHOTO,
    SCROLL_WIDTH,
    choose,
    copied_as,
    let_time_pass,
    names,
    violations,
    wait_until,
)
from tests.app.web.conftest import message
from tests.conftest import flower_image
from tests.serving import serving as serving_bundled
from tests.wsgi_server import serving

pytestmark = pytest.mark.browser

MODEL = "/on-device/files/model"
WASM = "/on-device/files/wasm"
PART_BYTES = 2**20  # of a download; also in download.js
# An entry of an ONNX file's metadata: another file for the same model.
ENTRY = bytes([0x72, 6, 0x0A, 1, ord("x"), 0x12, 1, ord("y")])
KEPT_ADDRESSES = """async () => {
    const found = [];
    for (const name of await caches.keys()) {
        if (!name.endsWith("on-device")) continue;
        for (const { url } of await (await caches.open(name)).keys()) found.push(url);
    }
    return found;
}"""
CACHES = "caches.keys().then((names) => names.filter((name) => name.includes('on-device')))"
UNREGISTER = """async () => {
    for (const found of await navigator.serviceWorker.getRegistrations()) await found.unregister();
}"""
CLEAR_STORAGE = """async () => {
    for (const name of await caches.keys()) await caches.delete(name);
}"""

Fault = Callable[[bytes], Iterable[bytes]]


@dataclass
class Service:
    """An app as a WSGI application whose responses can be damaged.

    Attributes:
        app: The app; may be replaced by another one, as an operator does.
        requests: Path and Range header of each request.
        faults: What becomes of the body of the next responses, by path.
        stop: Stops to listen.
    """

    app: Flask
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    stop: Callable[[], None] = lambda: None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.requests.append((path, environ.get("HTTP_RANGE", "")))
        response = self.app.wsgi_app(environ, start_response)
        faults = self.faults.get(path)
        if not faults:
            return response
        with closing(response) as parts:  # type: ignore[type-var]
            return faults.pop(0)(b"".join(parts))

    def ranges(self, path: str) -> list[str]:
        return [asked for requested, asked in self.requests if requested == path]

    @property
    def photos_received(self) -> int:
        return len(self.ranges("/predict"))


def corrupted(body: bytes) -> Iterable[bytes]:
    return [bytes(len(body))]


def cut_after(length: int) -> Fault:
    """Return a fault that breaks the connection after a number of bytes."""
    return lambda body: [body[:length]]


@dataclass
class Hold:
    """A fault that holds the response back after a number of bytes."""

    length: int
    released: threading.Event = field(default_factory=threading.Event)

    def __call__(self, body: bytes) -> Iterable[bytes]:
        yield body[: self.length]
        self.released.wait(60)


Start = Callable[..., tuple[Service, Page]]


@pytest.fixture
def start(visit: Visit, make_app: MakeApp, tiny_onnx: Path) -> Iterator[Start]:
    """Return a function that opens the page of a service with an ONNX checkpoint."""
    with ExitStack() as services:

        def open_page(
            *,
            path: str = "",
            language: str = "en-GB",
            width: int | None = None,
            faults: Mapping[str, Sequence[Fault]] | None = None,
            **settings: Any,
        ) -> tuple[Service, Page]:
            service = Service(make_app(**{"checkpoint": tiny_onnx, **settings}))
            service.faults.update({name: list(found) for name, found in (faults or {}).items()})
            listening = services.enter_context(ExitStack())
            origin = listening.enter_context(serving(service))
            service.stop = listening.close
            page = visit(f"{origin}/{path}", installs=True, language=language, width=width)
            return service, page

        yield open_page


@pytest.fixture
def newer_app(make_app: MakeApp, tiny_onnx: Path, tmp_path: Path) -> Flask:
    """Return the app of a service with a newer model."""
    newer = tmp_path / "newer.onnx"
    newer.write_bytes(tiny_onnx.read_bytes() + ENTRY)
    return make_app(checkpoint=newer)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "flower.jpg"
    flower_image(seed=3).save(path)
    return path


def button(page: Page, name: str) -> Locator:
    return page.locator(f".on-device .{name}")


def state(page: Page) -> Locator:
    return page.locator(".on-device .state")


def install(page: Page, language: str = "en") -> None:
    button(page, "install").click()
    expect(state(page)).to_have_text(message("on_device.on", language))


def source(page: Page) -> Locator:
    return page.locator(".result .source")


def identify(page: Page, photo: Path) -> list[str]:
    """Choose a photo, and return the names once they come from this device."""
    choose(page, photo)
    expect(source(page)).to_have_text(message("script.on_device"))
    return names(page)


def await_run(page: Page) -> None:
    """Wait until the page has sent a photo to the worker, which sets `isRunning` here."""
    wait_until(page, lambda: page.evaluate("window.isRunning ?? false"))


def offline(page: Page) -> None:
    page.context.set_offline(True)


@IN_BOTH_BROWSERS
def test_photos_are_identified_without_a_network(start: Start, photo: Path) -> None:
    service, page = start()
    address = page.url
    choose(page, photo)
    by_server = names(page)
    expect(source(page)).to_have_count(0)
    page.goto(address)
    install(page)
    assert identify(page, photo) == by_server
    page.goto(f"{address}flowers/21-fire-lily")  # seen with a network
    service.stop()
    page.goto(address)
    assert identify(page, photo) == by_server
    expect(page.locator(PHOTO)).to_be_visible()
    page.get_by_label(message("page.explain")).check()
    expect(page.locator("img.map:visible")).to_have_count(1)
    assert violations(page) == []
    assert copied_as(page, "text").splitlines()[-1] == message("script.on_device")
    assert service.photos_received == 1


@IN_BOTH_BROWSERS
@pytest.mark.data
def test_ten_photos_get_the_names_and_verdicts_of_the_service(
    visit: Visit, tmp_path: Path, data_dir: Path
) -> None:
    everyday = sorted((data_dir.parent / "everyday_dev").glob("*/*"))
    chosen = everyday[:: len(everyday) // 10][:10]
    with serving_bundled(tmp_path) as server:
        page = visit(server.address, installs=True)
        expected = [server.post(path.read_bytes())[1] for path in chosen]
        install(page)
    page.reload()
    choose(page, *chosen)
    expect(page.locator("#status")).to_have_text(message("script.done"), timeout=120_000)
    expect(page.locator(".tile")).to_have_count(len(chosen))
    for tile, result in zip(page.locator(".tile").all(), expected, strict=True):
        tile.click()
        expect(source(page)).to_be_visible()
        copied = json.loads(copied_as(page, "json"))
        let_time_pass(page)  # the button says "Copied"
        assert copied["verdict"] == result["verdict"]
        first, *_ = copied["predictions"]
        assert first["class_id"] == result["predictions"][0]["class_id"]


@IN_BOTH_BROWSERS
def test_pages_that_were_seen_open_without_a_network(start: Start, photo: Path) -> None:
    service, page = start()
    address = page.url
    install(page)
    page.goto(f"{address}flowers/21-fire-lily")
    service.stop()
    heading = page.get_by_role("heading", level=1)
    page.goto(f"{address}flowers")
    expect(page.get_by_role("searchbox")).to_be_visible()
    expect(page.locator(".list li").first).to_be_visible()
    page.goto(f"{address}flowers/21-fire-lily")
    expect(heading).not_to_have_text(message("offline.title"))
    page.goto(f"{address}flowers/1-pink-primrose")
    expect(heading).to_have_text(message("offline.title"))
    page.goto(f"{address}?lang=de")
    expect(heading).to_have_text(message("page.question", "de"))
    page.goto(f"{address}?shared")
    expect(page.locator(".plate")).to_be_visible()


def test_the_flowers_page_makes_it_work_offline_too(start: Start, photo: Path) -> None:
    service, page = start(path="flowers")
    install(page)
    offline(page)
    page.goto(page.url.replace("flowers", ""))
    identify(page, photo)
    assert service.photos_received == 0


def test_nothing_is_loaded_before_the_visitor_accepts(start: Start) -> None:
    service, page = start()
    expect(button(page, "install")).to_be_visible()
    page.goto(f"{page.url}flowers")
    expect(button(page, "install")).to_be_visible()
    loaded = {path for path, _ in service.requests if "on_device" in path or "on-device" in path}
    assert loaded == {"/static/on_device/offer.js"}


def test_it_can_be_removed(start: Start, photo: Path) -> None:
    service, page = start()
    install(page)
    button(page, "remove").click()
    expect(state(page)).to_have_text(message("on_device.removed"))
    expect(button(page, "install")).to_be_focused()
    assert page.evaluate(KEPT_ADDRESSES) == []
    choose(page, photo)
    names(page)
    expect(source(page)).to_have_count(0)
    assert service.photos_received == 1
    page.reload()
    expect(button(page, "install")).to_be_visible()


def test_an_update_is_offered_and_replaces_the_model(
    start: Start, newer_app: Flask, photo: Path
) -> None:
    service, page = start()
    install(page)

    def models() -> list[str]:
        return [url for url in page.evaluate(KEPT_ADDRESSES) if MODEL in url]

    (before,) = models()
    service.app = newer_app
    page.reload()
    expect(state(page)).to_have_text(message("on_device.newer"))
    assert models() == [before]
    service.faults[MODEL] = [corrupted, corrupted]
    button(page, "update").click()
    expect(state(page)).to_have_text(message("on_device.damaged"))
    assert models() == [before]
    button(page, "update").click()
    expect(state(page)).to_have_text(message("on_device.updated"))
    (after,) = models()
    assert after != before
    asked = len(service.ranges(WASM))
    assert asked == 1  # the runtime is the same
    offline(page)
    page.reload()
    identify(page, photo)


def test_a_corrupted_download_is_repeated_once(start: Start, photo: Path) -> None:
    service, page = start()
    service.faults[MODEL] = [corrupted]
    install(page)
    assert service.ranges(MODEL) == ["", ""]
    identify(page, photo)


def test_nothing_is_installed_from_damaged_files(start: Start, photo: Path) -> None:
    service, page = start()
    service.faults[MODEL] = [corrupted, corrupted]
    button(page, "install").click()
    expect(state(page)).to_have_text(message("on_device.damaged"))
    expect(button(page, "install")).to_be_focused()
    assert page.evaluate(KEPT_ADDRESSES) == []
    choose(page, photo)
    names(page)
    assert service.photos_received == 1


@IN_BOTH_BROWSERS
def test_a_download_that_breaks_off_resumes(start: Start, photo: Path) -> None:
    service, page = start()
    length = 2 * PART_BYTES + 1000
    service.faults[WASM] = [cut_after(length)]
    install(page)
    first, *others = service.ranges(WASM)
    assert first == ""
    assert len(others) == 1
    resumed = re.fullmatch(r"bytes=(\d+)-", others[0])
    assert resumed
    # The browser drops what it received shortly before the connection broke.
    assert PART_BYTES <= int(resumed[1]) <= length
    identify(page, photo)


def test_a_failed_download_continues_at_the_next_visit(start: Start, photo: Path) -> None:
    service, page = start()
    page.clock.install()  # the pauses between the tries
    service.faults[WASM] = [cut_after(2 * PART_BYTES), *[cut_after(0)] * 4]
    button(page, "install").click()
    while service.faults[WASM]:
        page.clock.run_for(1000)
    expect(state(page)).to_have_text(message("on_device.failed"))
    page.reload()
    install(page)
    resumed = re.fullmatch(r"bytes=(\d+)-", service.ranges(WASM)[-1])
    assert resumed
    assert PART_BYTES <= int(resumed[1]) <= 2 * PART_BYTES


def test_a_download_that_stalls_resumes(start: Start, photo: Path) -> None:
    service, page = start()
    page.clock.install()
    held = Hold(2 * PART_BYTES)
    service.faults[WASM] = [held]
    button(page, "install").click()
    expect(page.locator(".on-device .size")).to_contain_text("3")  # million bytes
    while len(service.ranges(WASM)) == 1:
        page.clock.run_for(1000)
    held.released.set()
    expect(state(page)).to_have_text(message("on_device.on"))
    assert service.ranges(WASM) == ["", f"bytes={2 * PART_BYTES}-"]


def test_two_tabs_share_a_download(start: Start) -> None:
    service, page = start()
    held = Hold(PART_BYTES)
    service.faults[WASM] = [held]
    other = page.context.new_page()
    other.goto(page.url)
    for tab in (page, other):
        button(tab, "install").click()
        expect(button(tab, "stop")).to_be_visible()
    held.released.set()
    for tab in (page, other):
        expect(state(tab)).to_have_text(message("on_device.on"))
    assert service.ranges(MODEL) == [""]


def test_other_tabs_follow_the_choice(start: Start, photo: Path) -> None:
    service, page = start()
    install(page)
    other = page.context.new_page()
    other.goto(page.url)
    expect(state(other)).to_have_text(message("on_device.on"))
    button(page, "remove").click()
    expect(state(other)).to_have_text(message("on_device.removed"))
    choose(other, photo)
    names(other)
    assert service.photos_received == 1
    other.goto(page.url)
    install(page)
    button(other, "install").click()  # loads the panel, which finds everything installed
    expect(button(other, "remove")).to_be_visible()
    identify(other, photo)
    assert service.photos_received == 1


def test_removal_ends_the_update_of_another_tab(start: Start, newer_app: Flask) -> None:
    service, page = start()
    install(page)
    service.app = newer_app
    other = page.context.new_page()
    other.goto(page.url)
    expect(state(other)).to_have_text(message("on_device.newer"))
    held = Hold(1000)
    service.faults[MODEL] = [held]
    button(other, "update").click()
    wait_until(page, lambda: not service.faults[MODEL])
    button(page, "remove").click()
    for tab in (page, other):
        expect(state(tab)).to_have_text(message("on_device.removed"))
    held.released.set()
    assert page.evaluate(CACHES) == []


def test_a_download_can_be_cancelled(start: Start) -> None:
    service, page = start()
    held = Hold(2 * PART_BYTES)
    service.faults[WASM] = [held]
    button(page, "install").click()
    expect(page.locator(".on-device progress")).to_have_js_property("hidden", False)
    expect(button(page, "stop")).to_be_focused()
    wait_until(page, lambda: service.ranges(WASM))
    button(page, "stop").click()
    expect(state(page)).to_have_text(message("on_device.stopped"))
    held.released.set()
    assert page.evaluate(KEPT_ADDRESSES) == []
    install(page)
    assert service.ranges(MODEL) == [""]  # complete before, so its parts were used


@IN_BOTH_BROWSERS
def test_storage_that_the_browser_deletes_is_noticed(start: Start, photo: Path) -> None:
    service, page = start()
    install(page)
    page.evaluate(CLEAR_STORAGE)
    page.reload()
    expect(state(page)).to_have_text(message("on_device.lost"))
    choose(page, photo)
    names(page)
    expect(source(page)).to_have_count(0)
    assert service.photos_received == 1
    page.goto(page.url)
    install(page)
    identify(page, photo)


def test_storage_that_is_deleted_while_the_page_is_open_is_noticed(
    start: Start, photo: Path
) -> None:
    service, page = start()
    install(page)
    page.evaluate(CLEAR_STORAGE)
    choose(page, photo)
    names(page)
    expect(page.locator("#notice")).to_have_text(message("on_device.lost"))
    expect(source(page)).to_have_count(0)
    assert service.photos_received == 1


def test_blocked_storage_leaves_photos_to_the_service(start: Start, photo: Path) -> None:
    service, page = start()
    page.evaluate(
        """() => {
            for (const name of ["open", "match"]) {
                CacheStorage.prototype[name] = () => {
                    return Promise.reject(new DOMException("", "SecurityError"));
                };
            }
        }"""
    )
    button(page, "install").click()
    expect(state(page)).to_have_text(message("on_device.failed"))
    choose(page, photo)
    names(page)
    assert service.photos_received == 1


@pytest.mark.parametrize(
    "post",
    ["this.dispatchEvent(new Event('error'))", "setTimeout(() => window.hung = true)"],
    ids=["crash", "hang"],
)
def test_a_worker_that_fails_is_replaced_by_the_service(
    start: Start, photo: Path, post: str
) -> None:
    service, page = start()
    install(page)
    page.clock.install()
    page.evaluate(f"Worker.prototype.postMessage = function () {{ {post}; }}")
    choose(page, photo)
    while not service.photos_received:
        page.clock.run_for(5000)
    names(page)
    expect(page.locator("#notice")).to_have_text(message("script.device_failed"))
    expect(source(page)).to_have_count(0)


def test_a_tab_that_ended_while_the_model_ran_uses_the_service(start: Start, photo: Path) -> None:
    service, page = start()
    install(page)
    # A crash sends no event.
    page.evaluate(
        """() => {
            addEventListener("pagehide", (event) => event.stopImmediatePropagation());
            Worker.prototype.postMessage = () => { window.isRunning = true; };
        }"""
    )
    choose(page, photo)
    await_run(page)
    for received in (1, 2):
        page.reload()
        choose(page, photo)
        names(page)
        expect(page.locator("#notice")).to_have_text(message("script.device_failed"))
        assert service.photos_received == received


def test_a_tab_that_the_visitor_leaves_while_the_model_runs_keeps_the_model(
    start: Start, photo: Path
) -> None:
    service, page = start()
    install(page)
    page.evaluate("Worker.prototype.postMessage = () => { window.isRunning = true; }")
    choose(page, photo)
    await_run(page)
    page.reload()
    identify(page, photo)
    assert service.photos_received == 0


def test_a_device_that_cannot_run_the_model_uses_the_service(
    start: Start, tmp_path: Path, photo: Path
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    service, page = start(checkpoint=damaged)
    install(page)
    choose(page, photo)
    names(page)
    expect(page.locator("#notice")).to_have_text(message("script.device_failed"))
    expect(source(page)).to_have_count(0)
    assert service.photos_received == 1


def test_full_storage_is_explained(start: Start) -> None:
    _, page = start()
    page.evaluate(
        """() => {
            Cache.prototype.put = () => Promise.reject(new DOMException("", "QuotaExceededError"));
        }"""
    )
    button(page, "install").click()
    expect(state(page)).to_have_text(message("on_device.full"))
    assert page.evaluate(CACHES) == []  # which would fill the storage further


def test_a_service_worker_that_does_not_arrive_fails_the_download(
    start: Start, photo: Path
) -> None:
    service, page = start(path="flowers")
    service.faults["/offline"] = [cut_after(0)] * 20
    page.evaluate(UNREGISTER)
    button(page, "install").click()
    expect(state(page)).to_have_text(message("on_device.failed"))
    service.faults.clear()
    install(page)
    offline(page)
    page.goto(page.url.replace("flowers", ""))
    identify(page, photo)


def test_pages_of_a_newer_service_are_stored_together(start: Start) -> None:
    service, page = start()
    install(page)
    before = page.evaluate(KEPT_ADDRESSES)
    refresh = """async () => {
        const { refreshPages } = await import("/static/on_device/install.js");
        const newest = await (await fetch("/on-device/manifest")).json();
        newest.scripts = "newer";
        newest.static.push("/static/flower.js?new");
        return refreshPages(newest).then(({ scripts }) => scripts, () => "failed");
    }"""
    service.faults["/"] = [cut_after(100)]
    assert page.evaluate(refresh) == "failed"
    assert page.evaluate(KEPT_ADDRESSES) == before
    assert page.evaluate(refresh) == "newer"
    assert len(page.evaluate(KEPT_ADDRESSES)) == len(before) + 1


def test_an_update_that_fails_without_a_network_keeps_the_model(
    start: Start, newer_app: Flask, photo: Path
) -> None:
    service, page = start()
    install(page)
    service.app = newer_app
    page.reload()
    expect(state(page)).to_have_text(message("on_device.newer"))
    offline(page)
    button(page, "update").click()
    expect(state(page)).to_have_text(message("on_device.failed"))
    expect(button(page, "update")).to_be_focused()
    identify(page, photo)


def test_a_photo_waits_for_the_download_if_the_device_is_the_default(
    start: Start, photo: Path
) -> None:
    service, page = start(on_device="default")
    identify(page, photo)
    assert service.photos_received == 0
    page.goto(page.url)
    expect(state(page)).to_have_text(message("on_device.on"))
    button(page, "remove").click()
    page.reload()
    choose(page, photo)
    names(page)
    assert service.photos_received == 1


def test_a_default_that_cannot_be_downloaded_leaves_photos_to_the_service(
    start: Start, photo: Path
) -> None:
    service, page = start(on_device="default", faults={MODEL: [corrupted, corrupted]})
    expect(state(page)).to_have_text(message("on_device.damaged"))
    choose(page, photo)
    names(page)
    expect(page.locator("#notice")).to_be_hidden()
    assert service.photos_received == 1


def test_a_service_that_turns_it_off_deletes_the_files(
    start: Start, make_app: MakeApp, tiny_onnx: Path, photo: Path
) -> None:
    service, page = start()
    install(page)
    service.app = make_app(checkpoint=tiny_onnx, on_device="off")
    page.goto(page.url)
    expect(page.locator(".on-device")).to_have_count(0)
    page.evaluate("navigator.serviceWorker.ready.then((found) => found.update()).then(() => true)")
    wait_until(page, lambda: page.evaluate("caches.keys().then(({ length }) => length)") <= 1)
    choose(page, photo)
    names(page)
    assert service.photos_received == 1


def test_bad_files_get_the_words_of_the_service(start: Start, tmp_path: Path) -> None:
    _, page = start(language="de-DE")
    damaged = tmp_path / "damaged.jpg"
    flower_image().save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:2000])

    def alert() -> str:
        choose(page, damaged)
        expect(page.get_by_role("alert")).to_be_visible()
        return page.locator(".problem").inner_text()

    by_service = alert()
    page.goto(page.url)
    install(page, "de")
    assert alert() == by_service


def test_what_needs_the_service_says_so(start: Start, photo: Path, tmp_path: Path) -> None:
    _, page = start()
    install(page)
    other = tmp_path / "other.jpg"
    flower_image(seed=4).save(other)
    choose(page, photo, other)
    expect(page.locator("#status")).to_have_text(message("script.done"))
    offline(page)
    page.get_by_role("button", name=message("page.combine")).click()
    for tile in page.locator(".tile").all():
        if tile.get_attribute("aria-pressed") != "true":
            tile.click()
    page.locator(".combine-now").click()
    expect(page.locator(".problem .detail")).to_have_text(message("script.combine_offline"))


def test_an_answer_of_the_device_can_be_corrected(start: Start, photo: Path) -> None:
    _, page = start()
    install(page)
    offline(page)
    identify(page, photo)
    page.locator("[data-answer=wrong]").click()
    page.locator("#correction-dialog .choice").first.click()
    expect(page.locator(".corrected")).to_be_visible()
    expect(source(page)).to_have_text(message("script.on_device"))


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_section_fits_a_narrow_screen(start: Start, language: str) -> None:
    _, page = start(language=language, width=320)
    assert page.evaluate(SCROLL_WIDTH) <= 320
    install(page, language)
    assert page.evaluate(SCROLL_WIDTH) <= 320
    assert violations(page) == []


def test_the_offer_is_hidden_without_scripts(visit: Visit, bundled_service: str) -> None:
    page = visit(bundled_service, javascript=False)
    expect(page.locator(".on-device")).to_be_hidden()
    page = visit(f"{bundled_service}flowers", javascript=False)
    expect(page.locator(".on-device")).to_be_hidden()
