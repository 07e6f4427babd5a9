"""Command line that downloads pictures of the flowers for the service's pages.

python scripts/make_pictures.py [--output DIR]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.data.picture_folder import DEFAULT_PICTURES
from model.data.plates import PLATES, make_pictures, read_plates
from scripts.command_line import command

_EPILOG = """\
The list has, for 80 of the 102 flowers, the address and SHA-256 of a botanical plate in the public
domain (one photo under CC BY 2.0), its crop and its credits. The service finds the default folder.

A picture that cannot be downloaded is reported and left out; run the command again to add it.
Pictures that are already there are not downloaded again. Your own pictures in the manifest stay.

exit codes: 0 success, 1 error or no picture, 2 wrong arguments, 130 Ctrl-C
"""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="make_pictures.py",
        description="Download pictures of the flowers for the service's pages.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=DEFAULT_PICTURES,
        metavar="DIR",
        help="folder for the pictures and their manifest.json (default: pictures/)",
    )
    parser.add_argument(
        "--list",
        type=Path,
        default=PLATES,
        metavar="FILE",
        help="another list of downloads, as model/data/plates.json",
    )
    options = parser.parse_args(arguments)
    plates = read_plates(options.list)
    made, failed = make_pictures(options.output, plates, lambda text: print(text, file=sys.stderr))
    print(f"{options.output} has {made} of {made + failed} pictures.")
    return 0 if made or not failed else 1


if __name__ == "__main__":
    sys.exit(main())
