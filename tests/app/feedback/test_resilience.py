"""Databases that are locked or restart, replicas, and services that are killed."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from app.feedback.database import EntryRow, PhotoRow
from app.feedback.entry import FeedbackUnavailableError
from app.feedback.store import PHOTO_FOLDER, FeedbackStore
from tests.app.conftest import encoded, multipart
from tests.app.feedback.conftest import QUOTA, MakeStore, entry
from tests.postgresql_server import PostgresqlServer
from tests.serving import Server, serving, until

pytestmark = pytest.mark.slow


def body(number: int, photo: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a form with a photo, and its headers."""
    fields = {"request_id": f"request-{number}", "correction": "other", "consent": "true"}
    built = multipart(
        *[(name, None, text.encode()) for name, text in fields.items()],
        ("image", "photo.jpg", photo),
    )
    return built["data"], {"Content-Type": built["content_type"]}


def send(server: Server, number: int, photo: bytes) -> tuple[int, Any]:
    """Send feedback; try again while other feedback is being stored."""
    while True:
        status, answer = server.request("POST", "/feedback", *body(number, photo))
        if status != 429:
            return status, answer


def contents(store: FeedbackStore) -> tuple[set[str], set[str]]:
    """Return the photos that entries refer to, and the names of the files."""
    with store.transaction() as session:
        digests = set(session.scalars(select(EntryRow.photo_sha256)))
        assert digests == set(session.scalars(select(PhotoRow.sha256)))
        files = {path.name for path in store.photos.path("0").parent.iterdir()}
    return {f"{digest}.jpg" for digest in digests}, files


def test_a_locked_database_is_reported_after_a_limited_wait(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.feedback.database.TIMEOUT_SECONDS", 1)
    holder, store = make_store(), make_store()
    with holder.transaction(), pytest.raises(FeedbackUnavailableError):
        store.add(entry(1))
    store.add(entry(1))


@pytest.mark.postgresql
def test_a_restarted_database_costs_no_error(folder: Path, postgresql: PostgresqlServer) -> None:
    name = uuid.uuid4().hex
    store = FeedbackStore(folder, postgresql.create_database(name), QUOTA)
    store.open()
    store.add(entry(1))
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
    store.add(entry(2))
    store.close()


@pytest.mark.postgresql
def test_services_share_one_store(
    tmp_path: Path, tiny_onnx: Path, folder: Path, postgresql: PostgresqlServer
) -> None:
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PETALSCOPE_FEEDBACK_DIR": str(folder),
        "PETALSCOPE_FEEDBACK_DATABASE_URL": postgresql.create_database(uuid.uuid4().hex),
    }
    photo = encoded()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with (
        serving(tmp_path / "a", **settings) as first,
        serving(tmp_path / "b", **settings) as second,
    ):
        with ThreadPoolExecutor(4) as threads:
            answers = list(
                threads.map(lambda n: send((first, second)[n % 2], n // 4, photo), range(8))
            )
        assert {status for status, _ in answers} == {200}
        codes = {answer["deletion_code"] for _, answer in answers}
        assert len(codes) == 2
        assert len(list((folder / PHOTO_FOLDER).iterdir())) == 1
        for code in codes:
            assert second.request("DELETE", f"/feedback/{code.upper()}x")[0] == 404
            assert deleted(second, code)
        assert list((folder / PHOTO_FOLDER).iterdir()) == []
        assert not deleted(first, codes.pop())


def deleted(server: Server, code: str) -> bool:
    """Delete feedback; return False if there is none."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("DELETE", f"/feedback/{code}")
        return connection.getresponse().status == 204
    finally:
        connection.close()


def test_a_killed_service_leaves_nothing_dangling(
    tmp_path: Path, tiny_onnx: Path, folder: Path
) -> None:
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PETALSCOPE_FEEDBACK_DIR": str(folder),
    }
    stored: list[int] = []
    with serving(tmp_path, **settings) as server:

        def send_until_killed(first: int) -> None:
            with suppress(OSError, HTTPException):
                for number in range(first, first + 1000):
                    if send(server, number, encoded(size=(60, 40), seed=number))[0] == 200:
                        stored.append(number)

        senders = [threading.Thread(target=send_until_killed, args=[first]) for first in (0, 1000)]
        for sender in senders:
            sender.start()
        until(lambda: len(stored) > 10)
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        server.process.send_signal(signal.SIGSTOP)  # so that it starts no other worker
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
        for sender in senders:
            sender.join()
        server.process.send_signal(signal.SIGKILL)
    store = FeedbackStore(folder, None, QUOTA)
    store.open()
    referred, files = contents(store)
    assert files == referred
    assert len(stored) <= len(files) <= len(stored) + 2  # two may be stored but not answered
    store.close()
