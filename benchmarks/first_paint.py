"""How soon the page can be seen on a slow phone, beside an answer of one line.

    Chromium, slowed down as Lighthouse does for a phone: CPU by 4, 1.6 Mbit/s, 150 ms a round trip
        -> first contentful paint, layout shift -> first_paint.csv, a table

python -m benchmarks.first_paint
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from benchmarks.environments import ROOT
from benchmarks.peers import petalscope
from benchmarks.results_file import print_rounds, write_csv

_CPU_SLOWDOWN: Final = 4
_BYTES_A_SECOND: Final = 1.6e6 / 8
_NETWORK: Final = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": _BYTES_A_SECOND,
    "uploadThroughput": _BYTES_A_SECOND,
}
_SEEN: Final = """async () => {
  const entries = (type) => new Promise((resolve) => {
    new PerformanceObserver((list) => resolve(list.getEntries())).observe({ type, buffered: true });
    setTimeout(() => resolve([]), 1000);
  });
  const paints = await entries("paint");
  const shifts = await entries("layout-shift");
  const first = paints.find((entry) => entry.name === "first-contentful-paint");
  return [first.startTime, shifts.reduce((sum, entry) => sum + entry.value, 0)];
}"""


def visit(browser: Browser, address: str) -> tuple[float, float]:
    """Visit a page for the first time; return its first paint in ms, and its layout shift."""
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        page = context.new_page()
        tools = context.new_cdp_session(page)
        tools.send("Emulation.setCPUThrottlingRate", {"rate": _CPU_SLOWDOWN})
        tools.send("Network.enable")
        tools.send("Network.emulateNetworkConditions", _NETWORK)
        page.goto(address, wait_until="load")
        paint, shift = page.evaluate(_SEEN)
        return float(paint), float(shift)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure how soon the page can be seen.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    rows = []
    with (
        petalscope() as server,
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        ) as browser,
    ):
        origin = f"http://127.0.0.1:{server.port}"
        for _ in range(options.rounds):
            line, _ = visit(browser, f"{origin}/healthz")
            paint, shift = visit(browser, f"{origin}/")
            rows.append(
                {
                    "one_line_ms": line,
                    "page_ms": paint,
                    "page_over_one_line": paint / line,
                    "layout_shift": shift,
                }
            )
    write_csv(options.output / "first_paint.csv", rows)
    print_rounds(rows)


if __name__ == "__main__":
    main()
