"""Review of the stored photos: a table for the reviewer's decisions, and the export for training.

No photo is exported without a decision. A person writes the decisions into a CSV file, which
`read_decisions` checks as a whole before `FeedbackReview.decide` stores any.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select

from app.feedback.database import EntryRow, PhotoRow
from app.feedback.entry import RIGHT, FeedbackFullError, FeedbackUnavailableError
from app.feedback.store import FeedbackStore
from model.atomic_write import atomic_write
from model.errors import PetalscopeError

REJECT: Final = "reject"
_COLUMNS: Final = ("photo", "decision", "corrections", "predicted")
_EXPORTED: Final = re.compile(r"[0-9a-f]{64}\.jpg")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class ReviewError(PetalscopeError):
    """Feedback or a table of decisions that cannot be used."""


@dataclass(frozen=True)
class ReviewedPhoto:
    """A stored photo with what its visitors say, and the reviewer's decision.

    Attributes:
        sha256: SHA-256 of the file, its name.
        path: The file.
        corrections: Number of entries by class ID, `other` or `unsure`. A confirmation counts as
            the predicted class.
        predicted: Class IDs that the model named first.
        decision: Class ID, `reject`, or "" before the review.
    """

    sha256: str
    path: Path
    corrections: Mapping[str, int]
    predicted: tuple[str, ...]
    decision: str


@dataclass(frozen=True)
class ExportResult:
    """Numbers of an export.

    Attributes:
        photos: Photos in the folder now.
        removed: Photos of an earlier export that were deleted or decided otherwise since.
        missing: Photos whose file does not exist.
    """

    photos: int
    removed: int
    missing: int


class FeedbackReview:
    """Access of a reviewer to a store.

    Args:
        store: The store.
    """

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store

    def photos(self, *, include_reviewed: bool = False) -> list[ReviewedPhoto]:
        """Return the photos without a decision, or all of them, oldest first.

        Raises:
            ReviewError: The database cannot be read.
        """
        entries: dict[str, list[tuple[str, str | None]]] = {}
        with _storage_errors(), self._store.transaction() as session:
            for sha256, correction, predicted in session.execute(
                select(EntryRow.photo_sha256, EntryRow.correction, EntryRow.predicted)
                .where(EntryRow.photo_sha256.is_not(None))
                .order_by(EntryRow.id)
            ):
                entries.setdefault(str(sha256), []).append((correction, predicted))
            rows = {row.sha256: row for row in session.scalars(select(PhotoRow))}
            return [
                ReviewedPhoto(
                    sha256,
                    self._store.photos.path(sha256),
                    _count(found),
                    tuple(dict.fromkeys(predicted for _, predicted in found if predicted)),
                    _decision(rows[sha256]),
                )
                for sha256, found in entries.items()
                if include_reviewed or not rows[sha256].is_reviewed
            ]

    def corrections_without_photo(self) -> Counter[tuple[str, str]]:
        """Return the number of entries without a photo by predicted class ID and correction.

        Raises:
            ReviewError: The database cannot be read.
        """
        with _storage_errors(), self._store.transaction() as session:
            rows = session.execute(
                select(EntryRow.predicted, EntryRow.correction).where(
                    EntryRow.photo_sha256.is_(None)
                )
            )
            return Counter((predicted or "", correction) for predicted, correction in rows)

    def decide(self, decisions: Mapping[str, str]) -> int:
        """Store decisions; return how many photos of them were deleted in the meantime.

        Args:
            decisions: Class ID or `reject` by SHA-256.

        Raises:
            ReviewError: The database cannot be written.
        """
        missing = 0
        with _storage_errors(), self._store.transaction() as session:
            for sha256, decision in decisions.items():
                row = session.get(PhotoRow, sha256)
                if row is None:
                    missing += 1
                    continue
                row.is_reviewed = True
                row.class_id = None if decision == REJECT else decision
        return missing

    def delete_rejected(self) -> int:
        """Delete the rejected photos with their entries; return the number of photos.

        Raises:
            ReviewError: The database or the folder cannot be written.
        """
        with _storage_errors():
            return self._store.delete_rejected()

    def export(self, folder: Path) -> ExportResult:
        """Write the accepted photos as FOLDER/<class ID>/<SHA-256>.jpg.

        An earlier export in the same folder is updated: photos that were deleted or decided
        otherwise are removed. Other files stay.

        Raises:
            ReviewError: The database or the folder cannot be used.
        """
        accepted = {
            photo.sha256: photo
            for photo in self.photos(include_reviewed=True)
            if photo.decision not in ("", REJECT)
        }
        try:
            return _export(accepted, folder)
        except OSError as error:
            raise ReviewError(f"{folder} cannot be written: {error.strerror}.") from error


def _export(accepted: Mapping[str, ReviewedPhoto], folder: Path) -> ExportResult:
    folder.mkdir(parents=True, exist_ok=True)
    removed = 0
    for path in list(folder.glob("*/*.jpg")):
        photo = accepted.get(path.stem)
        if _EXPORTED.fullmatch(path.name) and (
            photo is None or photo.decision != path.parent.name or not photo.path.exists()
        ):
            path.unlink()
            removed += 1
            if not any(path.parent.iterdir()):
                path.parent.rmdir()  # training refuses a class folder without photos
    missing = 0
    for photo in accepted.values():
        if Path(photo.decision).name != photo.decision or photo.decision == "..":
            raise ReviewError(f"The class ID {photo.decision!r} is not the name of a folder.")
        target = folder / photo.decision / photo.path.name
        if target.exists():
            continue
        try:
            data = photo.path.read_bytes()
        except FileNotFoundError:  # perhaps deleted by its visitor since the list was read
            missing += 1
            continue
        with atomic_write(target) as temporary:
            temporary.write_bytes(data)
    return ExportResult(len(accepted) - missing, removed, missing)


def write_table(photos: Iterable[ReviewedPhoto], path: Path) -> None:
    """Write the CSV table in which the reviewer fills the column `decision`.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for photo in photos:
            corrections = [f"{label} ×{count}" for label, count in photo.corrections.items()]
            writer.writerow(
                [photo.sha256, photo.decision, "; ".join(corrections), "; ".join(photo.predicted)]
            )


def read_decisions(path: Path, class_ids: Collection[str]) -> dict[str, str]:
    """Return the decisions in a table by SHA-256. Rows without a decision are skipped.

    The delimiter may be a comma, a semicolon or a tab, because spreadsheets change it.

    Args:
        path: The CSV file.
        class_ids: Valid decisions besides `reject`.

    Raises:
        ReviewError: The file cannot be read, or a row is invalid.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ReviewError(f"The table {path} cannot be read: {reason}.") from error
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)
    decisions: dict[str, str] = {}
    try:
        table = csv.DictReader(lines, delimiter=delimiter)
        columns, rows = table.fieldnames, list(table)
    except csv.Error as error:
        raise ReviewError(f"The table {path} is not a CSV file: {error}.") from error
    if not {"photo", "decision"} <= set(columns or ()):
        raise ReviewError(f"The table {path} needs the columns photo and decision.")
    for number, row in enumerate(rows, start=2):
        sha256, decision = (row["photo"] or "").strip(), (row["decision"] or "").strip()
        if not decision:
            continue
        if not _SHA256.fullmatch(sha256):
            raise ReviewError(f"{path}, row {number}: the photo {sha256[:80]!r} is not a SHA-256.")
        if decision != REJECT and decision not in class_ids:
            similar = difflib.get_close_matches(decision, [*class_ids, REJECT], n=1)
            hint = f"; did you mean {similar[0]}?" if similar else "."
            raise ReviewError(
                f"{path}, row {number}: the decision {decision[:80]!r} is neither a class ID of "
                f"the checkpoint nor {REJECT}{hint}"
            )
        if decisions.setdefault(sha256, decision) != decision:
            raise ReviewError(f"{path}, row {number}: the photo {sha256} has two decisions.")
    return decisions


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Convert the errors of the storage.

    Raises:
        ReviewError: The storage failed.
    """
    try:
        yield
    except FeedbackFullError as error:
        raise ReviewError("The disk of the feedback is full; free some space.") from error
    except FeedbackUnavailableError as error:
        cause = getattr(error.__cause__, "orig", None) or error.__cause__
        reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
        raise ReviewError(f"The feedback cannot be read or written: {reason}.") from error


def _count(entries: Iterable[tuple[str, str | None]]) -> Counter[str]:
    return Counter(
        predicted if correction == RIGHT and predicted else correction
        for correction, predicted in entries
    )


def _decision(row: PhotoRow) -> str:
    if not row.is_reviewed:
        return ""
    return REJECT if row.class_id is None else row.class_id
