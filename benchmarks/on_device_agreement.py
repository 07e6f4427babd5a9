"""Agreement of the model in the browser with the service, on folders of photos.

python -m benchmarks.on_device_agreement data/oxford102/valid data/everyday_dev
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.environments import ROOT
from benchmarks.results_file import print_table, write_csv
from model import bundled_checkpoint
from tests.browsers import BROWSERS
from tests.file_server import FileServer
from tests.model.imaging.profiles import DISPLAY_P3, rgb_profile
from tests.on_device_page import Agreement, add_photos, results_of_service, serving_model

_LEAST_SAME_CLASS: Final = 0.995
_LEAST_SAME_VERDICT: Final = 0.99
_MOST_DIFFERENCE: Final = 0.01
_CHUNK: Final = 50  # photos in one call of the page


def as_jpeg(data: bytes, profile: bytes | None = None) -> bytes:
    """Encode a photo again as cameras do: JPEG, 4:2:0, optionally with an ICC profile."""
    file = io.BytesIO()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.save(file, "JPEG", quality=92, subsampling="4:2:0", icc_profile=profile)
    return file.getvalue()


_KINDS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "as they are": bytes,
    "as JPEG": as_jpeg,
    "as JPEG in Display P3": lambda data: as_jpeg(data, rgb_profile(DISPLAY_P3, 2.2)),
}


def read_photos(folder: Path, most: int) -> list[bytes]:
    """Return the bytes of at most `most` photos of a folder, evenly chosen."""
    found = sorted(path for path in folder.glob("*/*") if path.is_file())
    chosen = found[:: max(1, len(found) // most)][:most]
    return [path.read_bytes() for path in chosen]


def compare(page: Page, files: FileServer, photos: Sequence[bytes]) -> Agreement:
    """Classify photos in both ways."""
    expected = results_of_service(bundled_checkpoint("cpu"), photos)
    paths = add_photos(files, photos)
    got: list[Any] = []
    for start in range(0, len(paths), _CHUNK):
        got += page.evaluate("(paths) => classify(paths)", paths[start : start + _CHUNK])
    return Agreement.of(expected, got)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if the ways agree on fewer photos than required, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of class folders")
    parser.add_argument(
        "--photos", type=int, default=1000, help="photos of each folder (default: %(default)s)"
    )
    parser.add_argument(
        "--browser", choices=BROWSERS, default="chromium", help="(default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args(argv)
    rows = []
    with (
        serving_model(bundled_checkpoint("cpu")) as files,
        sync_playwright() as playwright,
        BROWSERS[options.browser](playwright) as browser,
    ):
        page = browser.new_page()
        page.goto(files.url("/"))
        for kind, encode in _KINDS.items():
            for photo_folder in options.folders:
                sent = [encode(data) for data in read_photos(photo_folder, options.photos)]
                result = compare(page, files, sent)
                rows.append({"folder": photo_folder.name, "kind": kind, **vars(result)})
                print(rows[-1], file=sys.stderr)
    print_table(rows, ".4f")
    write_csv(options.output / f"on_device_agreement_{options.browser}.csv", rows)
    agrees = all(
        row["same_class"] >= _LEAST_SAME_CLASS
        and row["same_verdict"] >= _LEAST_SAME_VERDICT
        and row["difference"] <= _MOST_DIFFERENCE
        for row in rows
    )
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
