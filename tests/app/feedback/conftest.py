"""Stores of feedback in SQLite and in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.feedback.entry import FeedbackEntry
from app.feedback.store import FeedbackStore
from tests.postgresql_server import PostgresqlServer, running_postgresql

MakeStore = Callable[..., FeedbackStore]
QUOTA = 1_000_000
ENTRY = FeedbackEntry("request-1", "18", "21", "0123456789ab")


def entry(number: int, photo: bytes | None = None) -> FeedbackEntry:
    """Return the entry of another request."""
    return replace(ENTRY, request_id=f"request-{number}", photo=photo)


@pytest.fixture(scope="package")
def postgresql() -> Iterator[PostgresqlServer]:
    with running_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Return the URL of an empty database; None for SQLite in the folder."""
    if request.param == "sqlite":
        return None
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.create_database(uuid.uuid4().hex)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
def make_store(folder: Path, database_url: str | None) -> Iterator[MakeStore]:
    """Return a function that opens a replica of one store."""
    stores = []

    def make(quota_bytes: int = QUOTA) -> FeedbackStore:
        store = FeedbackStore(folder, database_url, quota_bytes)
        stores.append(store)
        store.open()
        return store

    yield make
    for store in stores:
        store.close()
