"""Benchmark of the model in the browser: bytes, time to the first result, time of a photo, memory.

python -m benchmarks.on_device --rounds 5
"""

from __future__ import annotations

import argparse
import base64
import gzip
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from playwright.sync_api import Browser, CDPSession, Page

from benchmarks.environments import ROOT
from benchmarks.photos import photo
from benchmarks.results_file import print_table, write_csv
from model import bundled_checkpoint
from tests.chromium import chromium
from tests.file_server import FileServer
from tests.on_device_page import add_photos, serving_model
from tests.serving import serving

_PHONE: Final = 4  # factor by which the CPU is slowed down
_SIDES: Final = (500, 4000)  # of the photos, in pixels
# Round-trip time in ms; download and upload in kbit/s, as in Chromium's developer tools.
_UNLIMITED: Final = "unlimited network"
_NETWORKS: Final[dict[str, tuple[int, int, int]]] = {
    _UNLIMITED: (0, 0, 0),
    "Slow 4G": (562, 1440, 675),
    "Fast 4G": (165, 8100, 1350),
}
_TIMED: Final = """async ([call, ...values]) => {
    const started = performance.now();
    await window[call](...values);
    return performance.now() - started;
}"""
# What the page does with a photo when the service classifies it.
_BY_SERVICE: Final = """async ([text]) => {
    const { prepare } = await import("/static/photo.js");
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const started = performance.now();
    const body = (await prepare(new File([bytes], "photo.jpg"), false)).photo;
    const headers = { "Content-Type": "image/jpeg" };
    const response = await fetch("/predict", { method: "POST", headers, body });
    await response.json();
    return performance.now() - started;
}"""


class Row(NamedTuple):
    """A row of the table."""

    measurement: str
    value: float
    unit: str


def throttle(session: CDPSession, cpu: int, network: str) -> None:
    """Slow down the page's CPU and network."""
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
    """Open a page in a context without a cache."""
    page = browser.new_context().new_page()
    page.set_default_timeout(0)
    page.goto(address)
    return page, page.context.new_cdp_session(page)


def first_result(browser: Browser, files: FileServer, path: str, network: str) -> float:
    """Return the milliseconds from opting in to the first result, on a slowed CPU."""
    page, session = opened(browser, files.url("/"))
    throttle(session, _PHONE, network)
    took: float = page.evaluate(_TIMED, ["classify", [path]])
    page.context.close()
    return took


def memory(browser: Browser) -> int:
    """Return the resident bytes of all renderers that are not shared with files."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    total = 0
    for process in processes["processInfo"]:
        if process["type"] == "renderer":
            status = Path(f"/proc/{process['id']}/status").read_text()
            (line,) = (line for line in status.splitlines() if line.startswith("RssAnon"))
            total += int(line.split()[1]) * 1024
    return total


def sizes(files: FileServer) -> dict[str, int]:
    """Return the bytes that a browser downloads after opting in."""
    total: dict[str, int] = {}
    for path, data in files.files.items():
        is_script = path.endswith((".js", ".mjs"))
        if path.startswith("/on_device/") and (is_script or path.endswith(".gz")):
            kind = "runtime" if "/onnxruntime/" in path else "module"
            sent = gzip.compress(data) if is_script else data
            total[kind] = total.get(kind, 0) + len(sent)
    return {**total, "model": len(files.files["/model.onnx"])}


def on_device(rounds: int, photos: Sequence[bytes]) -> Iterator[Row]:
    """Measure the model in the browser."""
    with serving_model(bundled_checkpoint("cpu")) as files, chromium() as browser:
        paths = add_photos(files, photos)
        for kind, size in sizes(files).items():
            yield Row(f"download, {kind}", size / 1e6, "MB")
        for network in _NETWORKS:
            took = [first_result(browser, files, paths[0], network) for _ in range(rounds)]
            yield Row(f"first result after opting in, {network}", median(took), "ms")
        page, session = opened(browser, files.url("/"))
        before = memory(browser)
        page.evaluate("(paths) => classify(paths)", paths * 3)  # compiles everything
        yield Row("memory after six photos", (memory(browser) - before) / 1e6, "MB")
        for cpu in (1, _PHONE):
            throttle(session, cpu, _UNLIMITED)
            for side, path in zip(_SIDES, paths, strict=True):
                took = [page.evaluate(_TIMED, ["classify", [path]]) for _ in range(rounds)]
                yield Row(f"photo of {side} pixels on the device, CPU ÷ {cpu}", median(took), "ms")


def by_service(rounds: int, photos: Sequence[bytes]) -> Iterator[Row]:
    """Measure photos that the page prepares on a slowed CPU and sends to the service."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as server,
        chromium() as browser,
    ):
        page, session = opened(browser, server.address)
        for network in _NETWORKS:
            throttle(session, _PHONE, network)
            for side, data in zip(_SIDES, photos, strict=True):
                text = base64.b64encode(data).decode()
                took = [page.evaluate(_BY_SERVICE, [text]) for _ in range(rounds)]
                yield Row(f"photo of {side} pixels by the service, {network}", median(took), "ms")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args(argv)
    photos = [photo(side) for side in _SIDES]
    rows = []
    for row in chain(on_device(options.rounds, photos), by_service(options.rounds, photos)):
        print(row, file=sys.stderr)
        rows.append(row._asdict())
    print_table(rows, ".1f")
    write_csv(options.output / "on_device.csv", rows)


if __name__ == "__main__":
    main()
