"""Storage of the feedback: rows in a database, photos in a folder.

Writers lock one row of the database, so threads and replicas take turns: the quota holds, equal
entries are stored once, and files agree with rows (see `app.feedback.photo_files`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import secrets
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, delete, func, inspect, select
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.feedback.database import (
    SCHEMA_VERSION,
    Base,
    EntryRow,
    PhotoRow,
    StoreRow,
    connect,
)
from app.feedback.entry import (
    FeedbackEntry,
    FeedbackFullError,
    FeedbackSetupError,
    FeedbackUnavailableError,
    Receipt,
)
from app.feedback.photo_files import PhotoFiles, sha256_of
from model.atomic_write import atomic_write

_log: Final = logging.getLogger(__name__)

PHOTO_FOLDER: Final = "photos"
# Ties a folder to its database. A sweep with another database would delete every photo.
ID_FILE: Final = "store-id"
_ONLY_ROW: Final = 1
# An entry's share of the quota, besides its photo: its row and index entries take less.
ENTRY_BYTES: Final = 1024
_CODE_BYTES: Final = 10
_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_POSTGRESQL_DISK_FULL: Final = "53100"


class FeedbackStore:
    """Feedback in one folder and one database, shared by threads, processes and replicas.

    Args:
        folder: Folder of the photos and, by default, of the SQLite database.
        database_url: SQLAlchemy URL of another database; None for SQLite.
        quota_bytes: Maximum bytes of all photos and entries.

    Raises:
        FeedbackSetupError: The folder or the URL cannot be used.
    """

    def __init__(self, folder: Path, database_url: str | None, quota_bytes: int) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        self.photos: Final = PhotoFiles(folder / PHOTO_FOLDER)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.photos.create()
            with tempfile.TemporaryFile(dir=folder / PHOTO_FOLDER):
                pass
        except OSError as error:
            raise FeedbackSetupError(
                f"The feedback folder {folder} cannot be used: {error.strerror}. It must be a "
                "folder that this user can write."
            ) from error
        self._engine: Engine = connect(folder, database_url)
        self._preparing = threading.Lock()
        self._is_prepared = False

    def open(self) -> None:
        """Create the tables and remove files of interrupted processes.

        If the database does not respond, this is repeated with the next entry.

        Raises:
            FeedbackSetupError: The database is of another version or another folder, or is no
                database.
        """
        try:
            self._prepare()
        except OperationalError:
            _log.warning("the feedback database does not respond: feedback gets 503", exc_info=True)
        except SQLAlchemyError as error:
            raise FeedbackSetupError(
                "The feedback database cannot be used; is it a database, and may its user create "
                "tables?"
            ) from error
        except OSError as error:
            raise FeedbackSetupError(
                f"The feedback folder {self._folder} cannot be used: {error.strerror}."
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def add(self, entry: FeedbackEntry) -> Receipt:
        """Store an entry; an equal one that is already stored keeps its deletion code.

        Raises:
            FeedbackFullError: The quota is used up, or the disk is full.
            FeedbackUnavailableError: The folder or the database failed.
        """
        sha256 = None if entry.photo is None else sha256_of(entry.photo)
        fingerprint = _fingerprint(entry, sha256)
        with self.transaction() as session:
            code = session.scalar(
                select(EntryRow.deletion_code).where(EntryRow.fingerprint == fingerprint)
            )
            if code is None:
                code = self._insert(session, entry, sha256, fingerprint)
        return Receipt(code, has_photo=sha256 is not None)

    def delete(self, deletion_code: str) -> bool:
        """Delete an entry, and its photo unless another entry has the same photo.

        Returns:
            False if no entry has the code.

        Raises:
            FeedbackFullError: The disk is full.
            FeedbackUnavailableError: The folder or the database failed. The code stays valid,
                unless only the file could not be removed; then the next transaction removes it.
        """
        retired: list[Path] = []
        with self.transaction() as session:
            row = session.scalar(select(EntryRow).where(EntryRow.deletion_code == deletion_code))
            if row is None:
                return False
            sha256 = row.photo_sha256
            session.delete(row)
            session.flush()
            if sha256 is not None and not _is_used(session, sha256):
                retired += self._retire(session, sha256)
        self._remove(retired)
        return True

    def delete_rejected(self) -> int:
        """Delete the photos that the review rejected, with their entries.

        Returns:
            Number of deleted photos.

        Raises:
            FeedbackFullError: The disk is full.
            FeedbackUnavailableError: The folder or the database failed.
        """
        retired: list[Path] = []
        with self.transaction() as session:
            rejected = select(PhotoRow.sha256).where(
                PhotoRow.is_reviewed, PhotoRow.class_id.is_(None)
            )
            digests = session.scalars(rejected).all()
            for sha256 in digests:
                session.execute(delete(EntryRow).where(EntryRow.photo_sha256 == sha256))
                retired += self._retire(session, sha256)
        self._remove(retired)
        return len(digests)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run a block alone among all replicas, in one database transaction.

        Raises:
            FeedbackFullError: The disk is full.
            FeedbackUnavailableError: The folder or the database failed.
        """
        try:
            self._prepare()
            with Session(self._engine) as session, session.begin():
                _lock(session)
                yield session
        except (SQLAlchemyError, OSError, FeedbackSetupError) as error:
            # Let the next transaction sweep: a photo may lack its row, or a row its photo.
            self._is_prepared = False
            if _is_disk_full(error):
                raise FeedbackFullError from error
            raise FeedbackUnavailableError from error

    def _insert(
        self, session: Session, entry: FeedbackEntry, sha256: str | None, fingerprint: str
    ) -> str:
        is_new_photo = sha256 is not None and session.get(PhotoRow, sha256) is None
        size = len(entry.photo) if is_new_photo and entry.photo is not None else 0
        if _used_bytes(session) + ENTRY_BYTES + size > self._quota_bytes:
            raise FeedbackFullError
        if is_new_photo and sha256 is not None and entry.photo is not None:
            session.add(PhotoRow(sha256=sha256, size=size))
            session.flush()
            self.photos.add(sha256, entry.photo)
        code = secrets.token_hex(_CODE_BYTES)
        session.add(
            EntryRow(
                fingerprint=fingerprint,
                deletion_code=code,
                request_id=entry.request_id,
                correction=entry.correction,
                predicted=entry.predicted,
                model_version=entry.model_version,
                photo_sha256=sha256,
            )
        )
        return code

    def _retire(self, session: Session, sha256: str) -> list[Path]:
        """Delete the row of a photo without entries; return the path of its file, if any."""
        session.delete(session.get_one(PhotoRow, sha256))
        session.flush()
        path = self.photos.retire(sha256)
        return [] if path is None else [path]

    def _remove(self, retired: Iterable[Path]) -> None:
        """Remove retired files after the commit.

        Raises:
            FeedbackUnavailableError: The folder failed; the next transaction removes the files.
        """
        try:
            for path in retired:
                path.unlink(missing_ok=True)
        except OSError as error:
            self._is_prepared = False
            raise FeedbackUnavailableError from error

    def _prepare(self) -> None:
        """Create the tables and sweep the folder, unless that is already done.

        Raises:
            FeedbackSetupError: The database is of another version or another folder.
            SQLAlchemyError, OSError: The database or the folder failed.
        """
        with self._preparing:
            if self._is_prepared:
                return
            _create_tables(self._engine)
            with Session(self._engine) as session, session.begin():
                row = _lock(session)
                if row.schema_version != SCHEMA_VERSION:
                    raise FeedbackSetupError(
                        f"The feedback database has version {row.schema_version} and this service "
                        f"needs {SCHEMA_VERSION}; use the version of Petalscope that wrote it."
                    )
                known = set(session.scalars(select(PhotoRow.sha256)))
                self._check_folder(row.folder_id, has_rows=bool(known))
                self.photos.sweep(known)
            self._is_prepared = True

    def _check_folder(self, folder_id: str, *, has_rows: bool) -> None:
        """Tie the folder to the database if one of them is new.

        Raises:
            FeedbackSetupError: They hold photos and do not belong together.
            OSError: The folder cannot be read or written.
        """
        path = self._folder / ID_FILE
        found = path.read_text(encoding="ascii").strip() if path.exists() else None
        if found == folder_id:
            return
        if has_rows or self.photos.any():
            raise FeedbackSetupError(
                f"The feedback folder {self._folder} belongs to another database. Replicas that "
                "share a database must share the folder too; a new database needs an empty folder."
            )
        with atomic_write(path) as temporary:
            temporary.write_text(folder_id, encoding="ascii")


def _create_tables(engine: Engine) -> None:
    """Create the tables and their first row; replicas may do so at the same time."""
    if not inspect(engine).has_table(StoreRow.__tablename__):
        # Another replica was faster; a real cause appears in the next statement.
        with suppress(DatabaseError):
            Base.metadata.create_all(engine)
    with suppress(IntegrityError), Session(engine) as session, session.begin():
        if session.get(StoreRow, _ONLY_ROW) is None:
            session.add(
                StoreRow(
                    id=_ONLY_ROW, schema_version=SCHEMA_VERSION, folder_id=secrets.token_hex(16)
                )
            )


def _lock(session: Session) -> StoreRow:
    return session.get_one(StoreRow, _ONLY_ROW, with_for_update=True)


def _is_used(session: Session, sha256: str) -> bool:
    entries = select(func.count()).where(EntryRow.photo_sha256 == sha256)
    return bool(session.scalar(entries))


def _used_bytes(session: Session) -> int:
    photos = session.scalar(select(func.coalesce(func.sum(PhotoRow.size), 0))) or 0
    entries = session.scalar(select(func.count()).select_from(EntryRow)) or 0
    return int(photos) + ENTRY_BYTES * entries


def _fingerprint(entry: FeedbackEntry, sha256: str | None) -> str:
    identity = [entry.request_id, entry.correction, entry.predicted, sha256]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL
    cause = getattr(error, "orig", None)
    return (
        getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        or getattr(cause, "sqlstate", None) == _POSTGRESQL_DISK_FULL
    )
