"""Download the flower photos: python scripts/download_data.py [--data DIR] [--source oxford].

    --source, --url -> model.data.download -> DIR/train, DIR/valid, DIR/cat_to_name.json

Exit codes: 0 the data set is there, 1 it could not be had, 2 wrong arguments, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Sequence

from model.data.download import (
    COURSE_URL,
    download_data,
    from_course,
    from_oxford,
    work_folder,
)
from scripts.command_line import INTERRUPTED, add_data_option, command

_SOURCES = """\
sources:
  course   The split of the Udacity course, which this project trains on: 6,552 photos in train/
           and 818 in valid/. Its publisher gives no checksum; each photo's CRC is checked.
  oxford   The originals (8,189 photos, 350 MB, MD5 checked) in Oxford's own split: 1,020 in
           train/, 1,020 in valid/ and 6,149 in test/. It leaves ten photos a class to train on,
           so accuracies do not compare with those of the course's split, and the photos of one
           split are spread over all parts of the other: never measure on one what was trained
           on the other.

A stopped download goes on when the same command is run again. A folder that holds the whole data
set is left alone.
"""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.source == "oxford" and (options.url or options.sha256):
        parser.error("--url and --sha256 go with --source course")
    source = from_oxford
    if options.source == "course":
        url = options.url or COURSE_URL
        source = functools.partial(from_course, url=url, sha256=options.sha256)
    try:
        download_data(options.data, source, report=functools.partial(print, flush=True))
    except KeyboardInterrupt:
        print(
            "Stopped. Run the same command again to go on with what has arrived, which is kept in "
            f"{work_folder(options.data)}.",
            file=sys.stderr,
        )
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="download_data.py",
        description="Bring the 102 flowers into class folders to train on.",
        epilog=_SOURCES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser, "where the data set goes")
    parser.add_argument(
        "--source",
        choices=("course", "oxford"),
        default="course",
        help="whose copy and whose split, see below (default: course)",
    )
    parser.add_argument("--url", help="another address of the course's zip")
    parser.add_argument("--sha256", type=_sha256, help="what the course's zip must hash to")
    return parser


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


if __name__ == "__main__":
    sys.exit(main())
