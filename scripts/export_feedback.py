"""Command line for the review of feedback, and for its export as training photos.

python scripts/export_feedback.py sheet review            # look at review/index.html
python scripts/export_feedback.py review review/decisions.csv
python scripts/export_feedback.py export data/feedback    # then train.py --train-data
python scripts/export_feedback.py delete-rejected
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.feedback.contact_sheet import SHEET_FILE, TABLE_FILE, write_contact_sheet
from app.feedback.database import DATABASE_FILE
from app.feedback.review import REJECT, FeedbackReview, read_decisions
from app.feedback.store import ID_FILE, FeedbackStore
from model import BUNDLED_CHECKPOINT
from model.checkpoint.format import read_metadata
from scripts.command_line import command

_DIR_VARIABLE: Final = "PETALSCOPE_FEEDBACK_DIR"
_URL_VARIABLE: Final = "PETALSCOPE_FEEDBACK_DATABASE_URL"
_EPILOG: Final = f"""\
steps:
  1. `sheet` writes a page with the photos that wait for a review, and the table {TABLE_FILE}.
  2. A person writes a class ID or `{REJECT}` for each photo into the table. `review` stores these
     decisions. Photos without one wait for the next review.
  3. `export` writes the accepted photos as class folders for train.py --train-data. Repeat it
     before each training: it also removes photos that their visitors have deleted.
  4. `delete-rejected` deletes the rejected photos from the store, which frees their space.

exit codes: 0 success, 1 error, 2 wrong arguments, 130 Ctrl-C
"""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.feedback_dir is None:
        parser.error(f"name the folder with --feedback-dir or ${_DIR_VARIABLE}")
    folder = options.feedback_dir.resolve()
    if not (folder / ID_FILE).is_file():
        parser.error(f"{folder} has no feedback: it is not the folder of a service")
    if options.database_url is None and not (folder / DATABASE_FILE).is_file():
        # A new database would take the folder away from the service's own.
        parser.error(f"{folder} has no {DATABASE_FILE}: name the service's --database-url")
    store = FeedbackStore(folder, options.database_url, quota_bytes=0)
    try:
        print(_run(FeedbackReview(store), options))
    finally:
        store.close()
    return 0


def _run(review: FeedbackReview, options: argparse.Namespace) -> str:
    """Run the chosen command; return a summary."""
    if options.command == "sheet":
        photos = review.photos(include_reviewed=options.all)
        names = {item.class_id: item.name for item in read_metadata(options.checkpoint).classes}
        write_contact_sheet(photos, review.corrections_without_photo(), names, options.folder)
        return f"{len(photos)} photos in {options.folder / SHEET_FILE} and {TABLE_FILE}."
    if options.command == "review":
        class_ids = {item.class_id for item in read_metadata(options.checkpoint).classes}
        decisions = read_decisions(options.table, class_ids)
        deleted = review.decide(decisions)
        rejected = Counter(decisions.values())[REJECT]
        return (
            f"{len(decisions) - rejected} photos accepted and {rejected} rejected; {deleted} of "
            "them were deleted in the meantime."
        )
    if options.command == "delete-rejected":
        return f"{review.delete_rejected()} rejected photos deleted."
    result = review.export(options.folder)
    return (
        f"{result.photos} photos in {options.folder}; {result.removed} removed from an earlier "
        f"export, {result.missing} without a file."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export_feedback.py",
        description="Review feedback and export the accepted photos for training.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--feedback-dir",
        type=Path,
        default=os.environ.get(_DIR_VARIABLE) or None,
        metavar="DIR",
        help=f"folder of the feedback (default: ${_DIR_VARIABLE})",
    )
    parser.add_argument(
        "--database-url",
        default=os.environ.get(_URL_VARIABLE) or None,
        metavar="URL",
        help=f"SQLAlchemy URL of its database (default: ${_URL_VARIABLE}, or SQLite in the folder)",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=BUNDLED_CHECKPOINT,
        metavar="FILE",
        help=".safetensors file with the classes (default: the bundled one)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    sheet = commands.add_parser("sheet", help="write a contact sheet and a table for the review")
    sheet.add_argument("folder", type=Path, help="new folder to write")
    sheet.add_argument("--all", action="store_true", help="include photos that are reviewed")
    review = commands.add_parser("review", help="store the decisions of a table")
    review.add_argument("table", type=Path, help=f"the edited {TABLE_FILE}")
    export = commands.add_parser("export", help="write the accepted photos as class folders")
    export.add_argument("folder", type=Path, help="folder to write or to update")
    commands.add_parser("delete-rejected", help="delete the rejected photos and their entries")
    return parser


if __name__ == "__main__":
    sys.exit(main())
