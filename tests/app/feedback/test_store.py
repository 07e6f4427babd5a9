"""Storage of feedback: duplicates, quota, deletion, replicas, crashes and failures."""

from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from app.feedback import store as store_module
from app.feedback.database import EntryRow, PhotoRow
from app.feedback.entry import (
    FeedbackFullError,
    FeedbackSetupError,
    FeedbackUnavailableError,
)
from app.feedback.photo_files import PhotoFiles, sha256_of
from app.feedback.store import ENTRY_BYTES, PHOTO_FOLDER, FeedbackStore
from tests.app.feedback.conftest import ENTRY, MakeStore, entry
from tests.conftest import ROOT

PHOTO = b"\xff\xd8 a photo"
OTHER_PHOTO = b"\xff\xd8 another photo"


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / PHOTO_FOLDER).iterdir()}


def counts(store: FeedbackStore) -> tuple[int, int]:
    """Return the numbers of entries and of photos in the database."""
    with store.transaction() as session:
        entries = len(session.scalars(select(EntryRow.id)).all())
        return entries, len(session.scalars(select(PhotoRow.sha256)).all())


def test_an_entry_and_its_photo_are_stored(make_store: MakeStore, folder: Path) -> None:
    store = make_store()
    receipt = store.add(entry(1, PHOTO))
    assert receipt.has_photo
    assert store.photos.path(sha256_of(PHOTO)).read_bytes() == PHOTO
    assert counts(store) == (1, 1)
    assert not store.add(entry(2)).has_photo
    assert counts(store) == (2, 1)


def test_equal_entries_are_stored_once_and_keep_their_code(make_store: MakeStore) -> None:
    store = make_store()
    first = store.add(entry(1, PHOTO))
    assert store.add(entry(1, PHOTO)) == first
    assert counts(store) == (1, 1)


def test_entries_of_equal_photos_share_the_file(make_store: MakeStore, folder: Path) -> None:
    store = make_store()
    codes = {store.add(entry(number, PHOTO)).deletion_code for number in range(3)}
    assert len(codes) == 3
    assert counts(store) == (3, 1)
    assert files(folder) == {f"{sha256_of(PHOTO)}.jpg"}


def test_a_photo_is_deleted_with_its_last_entry(make_store: MakeStore, folder: Path) -> None:
    store = make_store()
    first, second = (store.add(entry(number, PHOTO)).deletion_code for number in (1, 2))
    assert store.delete(first)
    assert files(folder) == {f"{sha256_of(PHOTO)}.jpg"}
    assert store.delete(second)
    assert files(folder) == set()
    assert counts(store) == (0, 0)
    assert not store.delete(second)


def test_the_quota_counts_photos_and_entries(make_store: MakeStore, folder: Path) -> None:
    store = make_store(2 * ENTRY_BYTES + len(PHOTO))
    code = store.add(entry(1, PHOTO)).deletion_code
    with pytest.raises(FeedbackFullError):
        store.add(entry(2, OTHER_PHOTO))
    store.add(entry(2, PHOTO))  # the photo is already stored
    with pytest.raises(FeedbackFullError):
        store.add(entry(3))
    assert files(folder) == {f"{sha256_of(PHOTO)}.jpg"}
    store.delete(code)
    store.add(entry(3))


@pytest.mark.slow
def test_concurrent_replicas_never_exceed_the_quota(make_store: MakeStore, folder: Path) -> None:
    room = 5
    replicas = [make_store(room * (ENTRY_BYTES + 10)) for _ in range(3)]

    def add(number: int) -> bool:
        try:
            replicas[number % 3].add(entry(number, b"photo %04d" % number))
        except FeedbackFullError:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        stored = list(threads.map(add, range(12)))
    assert sum(stored) == room
    assert counts(replicas[0]) == (room, room)
    assert len(files(folder)) == room


@pytest.mark.slow
def test_concurrent_equal_entries_are_stored_once(make_store: MakeStore) -> None:
    replicas = [make_store(), make_store()]
    with ThreadPoolExecutor(4) as threads:
        receipts = set(threads.map(lambda n: replicas[n % 2].add(entry(1, PHOTO)), range(8)))
    assert len(receipts) == 1
    assert counts(replicas[0]) == (1, 1)


@pytest.mark.slow
def test_replicas_may_create_the_tables_at_the_same_time(make_store: MakeStore) -> None:
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: make_store(), range(4)))
    stores[0].add(ENTRY)
    assert counts(stores[3]) == (1, 0)


def test_a_crash_before_the_commit_leaves_a_file_that_the_next_start_removes(
    make_store: MakeStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CrashError(BaseException):
        pass

    def crash(self: PhotoFiles, sha256: str, data: bytes) -> None:
        self.path(sha256).write_bytes(data)
        raise CrashError

    store = make_store()
    with monkeypatch.context() as patch:
        patch.setattr(PhotoFiles, "add", crash)
        with pytest.raises(CrashError):
            store.add(entry(1, PHOTO))
    assert len(files(folder)) == 1
    assert counts(make_store()) == (0, 0)
    assert files(folder) == set()


def test_a_crash_while_deleting_restores_the_photo(
    make_store: MakeStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CrashError(BaseException):
        pass

    retire = PhotoFiles.retire

    def crash(self: PhotoFiles, sha256: str) -> None:
        retire(self, sha256)
        raise CrashError

    code = make_store().add(entry(1, PHOTO)).deletion_code
    with monkeypatch.context() as patch:
        patch.setattr(PhotoFiles, "retire", crash)
        with pytest.raises(CrashError):
            make_store().delete(code)
    store = make_store()
    assert files(folder) == {f"{sha256_of(PHOTO)}.jpg"}
    assert store.delete(code)
    assert files(folder) == set()


def test_a_start_removes_interrupted_files_and_keeps_those_of_others(
    make_store: MakeStore, folder: Path
) -> None:
    make_store().add(entry(1, PHOTO))
    digest = sha256_of(OTHER_PHOTO)
    for name in (f"{digest}.jpg", f".{digest}.jpg.x1", f"{digest}.0123456789abcdef.retired"):
        (folder / PHOTO_FOLDER / name).touch()
    (folder / PHOTO_FOLDER / "lost+found").mkdir()
    (folder / PHOTO_FOLDER / "notes.txt").touch()
    make_store()
    assert files(folder) == {f"{sha256_of(PHOTO)}.jpg", "lost+found", "notes.txt"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stores_nothing(
    make_store: MakeStore, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(number, "No space left on device")

    store = make_store()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(FeedbackFullError):
            store.add(entry(1, PHOTO))
    assert counts(store) == (0, 0)
    assert files(folder) == set()
    store.add(entry(1, PHOTO))


def test_a_failing_disk_is_reported_and_stores_nothing(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: PhotoFiles, sha256: str, data: bytes) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = make_store()
    with monkeypatch.context() as patch:
        patch.setattr(PhotoFiles, "add", broken)
        with pytest.raises(FeedbackUnavailableError):
            store.add(entry(1, PHOTO))
    assert counts(store) == (0, 0)


def test_a_photo_that_cannot_be_removed_keeps_its_code(
    make_store: MakeStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: PhotoFiles, sha256: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    store = make_store()
    code = store.add(entry(1, PHOTO)).deletion_code
    with monkeypatch.context() as patch:
        patch.setattr(PhotoFiles, "retire", refused)
        with pytest.raises(FeedbackUnavailableError):
            store.delete(code)
    assert counts(store) == (1, 1)
    assert store.delete(code)
    assert files(folder) == set()


def test_a_folder_of_another_database_is_refused(
    make_store: MakeStore, folder: Path, tmp_path: Path
) -> None:
    store = make_store()
    store.add(entry(1, PHOTO))
    other = FeedbackStore(folder, f"sqlite:///{tmp_path / 'new.db'}", quota_bytes=1)
    with pytest.raises(FeedbackSetupError):
        other.open()
    other.close()
    assert store.photos.path(sha256_of(PHOTO)).exists()


def test_a_database_of_another_folder_is_refused(
    make_store: MakeStore, tmp_path: Path, folder: Path, database_url: str | None
) -> None:
    make_store().add(entry(1, PHOTO))
    url = database_url or f"sqlite:///{folder / 'feedback.sqlite3'}"
    other = FeedbackStore(tmp_path / "elsewhere", url, quota_bytes=1)
    with pytest.raises(FeedbackSetupError):
        other.open()
    other.close()


def test_an_empty_store_may_get_a_new_database(folder: Path, tmp_path: Path) -> None:
    for name in ("a.db", "b.db"):
        store = FeedbackStore(folder, f"sqlite:///{tmp_path / name}", 10_000)
        store.open()
        store.close()


def test_another_schema_version_is_refused(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store()
    monkeypatch.setattr(store_module, "SCHEMA_VERSION", 2)
    with pytest.raises(FeedbackSetupError, match="version"):
        make_store()


@pytest.mark.parametrize(
    "url",
    ["words", "sqlite://", "sqlite:///:memory:", "postgresql://u:secret@h:port/db", "nosql://h/db"],
)
def test_an_unusable_url_stops_the_start(tmp_path: Path, url: str) -> None:
    with pytest.raises(FeedbackSetupError) as caught:
        FeedbackStore(tmp_path, url, quota_bytes=1)
    assert "PETALSCOPE_FEEDBACK_DATABASE_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeedbackSetupError, match="oracledb"):
        FeedbackStore(tmp_path, "oracle+oracledb://host/db", quota_bytes=1)


def test_a_file_instead_of_a_folder_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "feedback"):
        with pytest.raises(FeedbackSetupError):
            FeedbackStore(path, None, quota_bytes=1)


def test_a_file_that_is_no_database_stops_the_start(folder: Path) -> None:
    folder.mkdir()
    (folder / "feedback.sqlite3").write_text("words " * 1000)
    store = FeedbackStore(folder, None, quota_bytes=1)
    with pytest.raises(FeedbackSetupError):
        store.open()
    store.close()


def test_an_unreachable_database_delays_feedback_but_not_the_start(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path, "postgresql://u@127.0.0.1:9/db", quota_bytes=1)
    store.open()
    with pytest.raises(FeedbackUnavailableError):
        store.add(ENTRY)
    store.close()


def test_the_folder_is_private(make_store: MakeStore, folder: Path) -> None:
    make_store().add(entry(1, PHOTO))
    assert folder.stat().st_mode & 0o077 == 0


def test_deleted_rows_leave_no_trace_in_sqlite(folder: Path) -> None:
    store = FeedbackStore(folder, None, 1_000_000)
    code = store.add(entry(4711)).deletion_code
    assert store.delete(code)
    store.close()
    with sqlite3.connect(folder / "feedback.sqlite3") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    stored = b"".join(path.read_bytes() for path in folder.glob("feedback.sqlite3*"))
    assert b"request-4711" not in stored


@pytest.mark.slow
def test_the_service_does_not_import_sqlalchemy_until_feedback_is_on() -> None:
    code = "import sys, app; print('sqlalchemy' in sys.modules, 'psycopg' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "False False\n"
