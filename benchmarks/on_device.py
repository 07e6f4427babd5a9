"""Benchmark of the model in the browser, beside the service on slow networks.

python -m benchmarks.on_device --rounds 3
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Browser, CDPSession, FilePayload, Page, Request, sync_playwright

from benchmarks.environments import ROOT
from benchmarks.photos import photo
from benchmarks.results_file import print_table, write_csv
from tests.browsers import chromium
from tests.serving import serving

_PHONE: Final = 4  # factor by which the CPU is slowed down
_SIDES: Final = (500, 4000)  # of the photos, in pixels
_TIMEOUT_MS: Final = 600_000
# Round-trip time in ms; download and upload in kbit/s, as in Chromium's developer tools.
_UNLIMITED: Final = "unlimited network"
_NETWORKS: Final[dict[str, tuple[int, int, int]]] = {
    _UNLIMITED: (0, 0, 0),
    "Slow 4G": (562, 1440, 675),
    "Fast 4G": (165, 8100, 1350),
}
# Functions for the page. The model runs on the main thread, the only one that Chromium slows down.
# Both ways prepare the photo and get its activation maps, as the page does.
_FUNCTIONS: Final = """async () => {
    const { prepare } = await import("/static/photo.js");
    const timed = (work) => async (text = "") => {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const file = new File([bytes], "photo.jpg", { type: "image/jpeg" });
        const started = performance.now();
        await work(file);
        return performance.now() - started;
    };
    let model, options;
    window.load = timed(async () => {
        const { FlowerModel } = await import("/static/on_device/flower_model.js");
        const runtime = await import(manifest.files.runtime.url);
        const packed = new Response(wasm.stream().pipeThrough(new DecompressionStream("gzip")));
        runtime.env.wasm.wasmBinary = await packed.arrayBuffer();
        model = await FlowerModel.load({ runtime, model: await onnx.arrayBuffer() });
        options = { ...manifest.options, activationMap: true };
    });
    window.byDevice = timed(async (file) => {
        await model.classify((await prepare(file, false)).photo, options);
    });
    window.byService = timed(async (file) => {
        const body = (await prepare(file, false)).photo;
        const headers = { "Content-Type": body.type };
        const url = document.querySelector("main").dataset.predict;
        const response = await fetch(url, { method: "POST", headers, body });
        if (!(await response.json()).predictions) throw new Error(response.status);
    });
    const manifest = await (await fetch("/on-device/manifest")).json();
    const wasm = await (await fetch(manifest.files.wasm.url)).blob();
    const onnx = await (await fetch(manifest.files.model.url)).blob();
}"""


class Row(NamedTuple):
    """A row of the table."""

    measurement: str
    value: float
    unit: str


def throttle(session: CDPSession, cpu: int, network: str) -> None:
    """Slow down the main thread and the network of a page."""
    session.send("Emulation.setCPUThrottlingRate", {"rate": cpu})
    latency, down, up = _NETWORKS[network]
    session.send("Network.enable")
    session.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": latency,
            "downloadThroughput": down * 125 or -1,  # bytes per second; -1 is unlimited
            "uploadThroughput": up * 125 or -1,
        },
    )


def opened(browser: Browser, address: str) -> tuple[Page, CDPSession]:
    """Open the service's page as a new visitor."""
    # The policy lets only a worker compile WebAssembly.
    page = browser.new_context(bypass_csp=True).new_page()
    page.set_default_timeout(_TIMEOUT_MS)
    page.goto(address)
    return page, page.context.new_cdp_session(page)


def kind_of(request: Request) -> str:
    """Return what a request of the installation downloads."""
    *_, folder, name = urlsplit(request.url).path.split("/")
    if folder != "files":
        return "pages, scripts and styles"
    return "runtime" if name in ("runtime", "wasm") else name


def first_result(
    browser: Browser, address: str, network: str, data: bytes
) -> tuple[float, dict[str, int]]:
    """Accept the offer and identify a photo in a new visitor's page.

    Returns:
        Milliseconds from the click to the result, and the bytes of each kind of file.
    """
    page, session = opened(browser, address)
    throttle(session, 1, network)
    requests: list[Request] = []
    page.on("requestfinished", lambda request: requests.append(request))
    started = time.perf_counter()
    page.locator(".on-device .install").click()
    page.locator(".on-device .remove").wait_for()
    finished = list(requests)
    file = FilePayload(name="photo.jpg", mimeType="image/jpeg", buffer=data)
    page.locator("#file").set_input_files(file)
    page.locator(".result .source").wait_for()
    took = (time.perf_counter() - started) * 1000
    total: dict[str, int] = {}
    for request in finished:
        sizes = request.sizes()
        size = sizes["responseHeadersSize"] + sizes["responseBodySize"]
        total[kind_of(request)] = total.get(kind_of(request), 0) + size
    page.context.close()
    return took, total


def memory(browser: Browser) -> int:
    """Return the resident bytes of all renderers that are not shared with files."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    total = 0
    for process in processes:
        if process["type"] == "renderer":
            status = Path(f"/proc/{process['id']}/status").read_text()
            (line,) = (line for line in status.splitlines() if line.startswith("RssAnon"))
            total += int(line.split()[1]) * 1024
    return total


def installation(browser: Browser, address: str, rounds: int, data: bytes) -> Iterator[Row]:
    """Measure the download, and the time from accepting it to the first result."""
    for network in _NETWORKS:
        done = [first_result(browser, address, network, data) for _ in range(rounds)]
        if network == _UNLIMITED:
            for kind, size in done[0][1].items():
                yield Row(f"download, {kind}", size / 1e6, "MB")
        yield Row(f"first result after accepting, {network}", median(t for t, _ in done), "ms")


def photos_by(
    page: Page, way: str, rounds: int, texts: Sequence[str]
) -> Iterator[tuple[int, float]]:
    """Yield the side of each photo in pixels, and the median of its milliseconds."""
    for side, text in zip(_SIDES, texts, strict=True):
        call = f"(text) => {way}(text)"
        page.evaluate(call, text)  # compiles the code
        yield side, median(page.evaluate(call, text) for _ in range(rounds))


def both_ways(browser: Browser, address: str, rounds: int, texts: Sequence[str]) -> Iterator[Row]:
    """Measure photos in the browser and by the service."""
    page, session = opened(browser, address)
    page.evaluate(_FUNCTIONS)
    before = memory(browser)
    throttle(session, _PHONE, _UNLIMITED)
    yield Row(f"load the model, CPU ÷ {_PHONE}", page.evaluate("load()"), "ms")
    for cpu in (_PHONE, 1):
        throttle(session, cpu, _UNLIMITED)
        for side, took in photos_by(page, "byDevice", rounds, texts):
            yield Row(f"photo of {side} pixels in the browser, CPU ÷ {cpu}", took, "ms")
    yield Row("memory of the model after these photos", (memory(browser) - before) / 1e6, "MB")
    for network in _NETWORKS:
        throttle(session, _PHONE, network)
        for side, took in photos_by(page, "byService", rounds, texts):
            name = f"photo of {side} pixels by the service, CPU ÷ {_PHONE}, {network}"
            yield Row(name, took, "ms")
    page.context.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args(argv)
    photos = [photo(side) for side in _SIDES]
    texts = [base64.b64encode(data).decode() for data in photos]
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as server,
        sync_playwright() as playwright,
        chromium(playwright) as browser,
    ):
        address = server.address
        for row in chain(
            both_ways(browser, address, options.rounds, texts),
            installation(browser, address, options.rounds, photos[0]),
        ):
            print(row, file=sys.stderr)
            rows.append(row._asdict())
    print_table(rows, ".1f")
    write_csv(options.output / "on_device.csv", rows)


if __name__ == "__main__":
    main()
