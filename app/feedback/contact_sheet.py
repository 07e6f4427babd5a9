"""Contact sheet for the review: an HTML page with thumbnails, and the table of decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from app.feedback.review import REJECT, ReviewedPhoto, ReviewError, write_table

SHEET_FILE: Final = "index.html"
TABLE_FILE: Final = "decisions.csv"
_THUMBNAILS: Final = "thumbnails"
_THUMBNAIL_SIDE: Final = 320  # pixels
_TEMPLATE: Final = Path(__file__).with_name("contact_sheet.html")


def write_contact_sheet(
    photos: Sequence[ReviewedPhoto],
    without_photo: Counter[tuple[str, str]],
    names: Mapping[str, str],
    folder: Path,
) -> None:
    """Write a contact sheet and its table into a new folder.

    Args:
        photos: The photos; those without a file are left out.
        without_photo: Number of other entries by predicted class ID and correction.
        names: Name of each class ID.
        folder: Folder to create. It must be missing or empty, because decisions in an earlier
            table would be lost.

    Raises:
        ReviewError: The folder is not empty or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ReviewError(f"{folder} is not empty; choose another folder.")
        (folder / _THUMBNAILS).mkdir(parents=True)
        present = [photo for photo in photos if photo.path.exists()]
        for photo in present:
            with Image.open(photo.path) as image:
                image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
                image.save(folder / _THUMBNAILS / f"{photo.sha256}.jpg")
        templates = Environment(loader=FileSystemLoader(_TEMPLATE.parent), autoescape=True)
        page = templates.get_template(_TEMPLATE.name).render(
            photos=present,
            without_photo=without_photo,
            names=names,
            reject=REJECT,
            table=TABLE_FILE,
            thumbnails=_THUMBNAILS,
        )
        (folder / SHEET_FILE).write_text(page, encoding="utf-8")
        write_table(present, folder / TABLE_FILE)
    except OSError as error:
        raise ReviewError(f"{folder} cannot be written: {error.strerror or error}.") from error
