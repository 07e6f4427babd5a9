"""Command line that downloads the flower photos.

python scripts/download_data.py [--data DIR] [--source oxford]
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Sequence

from model.data.oxford_flowers import COURSE_URL, download_data, from_course, from_oxford
from scripts.command_line import add_data_option, command

_EPILOG = """\
sources:
  course   The split of the Udacity course, which this project trains on: 6,552 photos in train/
           and 818 in valid/. Its publisher gives no checksum; each photo's CRC is checked.
  oxford   The original files (8,189 photos, 350 MB, MD5 checked) in Oxford's own split: 1,020 in
           train/, 1,020 in valid/ and 6,149 in test/. With ten training photos per class, its
           accuracies are not comparable with the course's. The two splits overlap: never
           evaluate on one a model that was trained on the other.

Each photo is decoded once, to find damaged ones. A failed or interrupted download leaves no files
behind. A folder that already holds the data set is left unchanged.

exit codes: 0 success, 1 error, 2 wrong arguments, 130 Ctrl-C
"""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.source == "oxford" and (options.url or options.sha256):
        parser.error("--url and --sha256 need --source course")
    source = from_oxford
    if options.source == "course":
        url = options.url or COURSE_URL
        source = functools.partial(from_course, url=url, sha256=options.sha256)
    download_data(options.data, source, report=functools.partial(print, flush=True))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="download_data.py",
        description="Download the 102 Flowers data set into class folders.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser, "folder for the data set")
    parser.add_argument(
        "--source",
        choices=("course", "oxford"),
        default="course",
        help="publisher and split, see below (default: course)",
    )
    parser.add_argument("--url", help="another address of the course's zip file")
    parser.add_argument("--sha256", type=_sha256, help="expected SHA-256 of the course's zip file")
    return parser


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("expected 64 hexadecimal digits")
    return text.lower()


if __name__ == "__main__":
    sys.exit(main())
