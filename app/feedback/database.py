"""Tables of the feedback, and the connection to their database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Engine,
    ForeignKey,
    String,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.feedback.entry import FeedbackSetupError

DATABASE_FILE: Final = "feedback.sqlite3"
SCHEMA_VERSION: Final = 1
TIMEOUT_SECONDS: Final = 5
_LIBPQ_DRIVERS: Final = ("psycopg", "psycopg2")
# A server that the network no longer reaches must not hold a thread for hours.
_LIBPQ_ARGUMENTS: Final = {
    "connect_timeout": TIMEOUT_SECONDS,
    "keepalives_idle": TIMEOUT_SECONDS,
    "keepalives_interval": TIMEOUT_SECONDS,
    "keepalives_count": 2,
    "tcp_user_timeout": 1000 * TIMEOUT_SECONDS,
}
_MAX_CLASS_ID: Final = 255  # bytes; class IDs are names of folders


class Base(DeclarativeBase):
    """The tables of one store."""


class StoreRow(Base):
    """The only row of its table. Writers lock it, so that they run one after another."""

    __tablename__ = "petalscope_feedback_store"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    schema_version: Mapped[int]
    folder_id: Mapped[str] = mapped_column(String(32))


class PhotoRow(Base):
    """A photo and its review; photos with equal content share a row.

    `class_id` is the reviewer's decision. It is null if the photo is rejected or not yet reviewed.
    """

    __tablename__ = "petalscope_feedback_photo"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    is_reviewed: Mapped[bool] = mapped_column(default=False)
    class_id: Mapped[str | None] = mapped_column(String(_MAX_CLASS_ID))


class EntryRow(Base):
    """One entry; `fingerprint` identifies equal ones."""

    __tablename__ = "petalscope_feedback_entry"

    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=lambda: datetime.now(UTC)
    )
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    deletion_code: Mapped[str] = mapped_column(String(32), unique=True)
    request_id: Mapped[str] = mapped_column(String(64))
    correction: Mapped[str] = mapped_column(String(_MAX_CLASS_ID))
    predicted: Mapped[str | None] = mapped_column(String(_MAX_CLASS_ID))
    model_version: Mapped[str] = mapped_column(String(64))
    photo_sha256: Mapped[str | None] = mapped_column(ForeignKey(PhotoRow.sha256), index=True)


def connect(folder: Path, database_url: str | None) -> Engine:
    """Return the engine of a store; it connects on first use.

    Args:
        folder: Folder of the SQLite file.
        database_url: SQLAlchemy URL of another database; None for SQLite.

    Raises:
        FeedbackSetupError: The URL is invalid, or its driver is not installed.
    """
    try:
        url = (
            URL.create("sqlite", database=str(folder / DATABASE_FILE))
            if database_url is None
            else make_url(database_url)
        )
        if url.get_backend_name() == "sqlite":
            if not url.database or ":memory:" in url.database:
                raise ArgumentError("no file")
            arguments: dict[str, Any] = {"timeout": TIMEOUT_SECONDS}
        elif url.get_driver_name() in _LIBPQ_DRIVERS:
            arguments = _LIBPQ_ARGUMENTS
        else:
            arguments = {}
        # A database that was restarted must not cost a visitor an error.
        engine = create_engine(
            url, connect_args=arguments, pool_pre_ping=True, pool_timeout=TIMEOUT_SECONDS
        )
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise FeedbackSetupError(
            "PETALSCOPE_FEEDBACK_DATABASE_URL is not a URL that SQLAlchemy can use; it must look "
            "like postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:////PATH/FILE."
        ) from error
    except ImportError as error:
        raise FeedbackSetupError(
            f"The database driver {error.name} is not installed: install it with pip, or use "
            "PostgreSQL or SQLite, whose drivers are included."
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif engine.dialect.name == "postgresql":
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def _configure_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # the listener of "begin" begins transactions
    # Deleted content must not stay in the file, and a committed entry must survive a power failure.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # SQLite has no SELECT FOR UPDATE. A transaction that reads before it writes could fail.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    # A replica that hangs must not block the others for long.
    connection.exec_driver_sql(
        f"SELECT set_config('lock_timeout', '{TIMEOUT_SECONDS}s', true), "
        f"set_config('statement_timeout', '{2 * TIMEOUT_SECONDS}s', true), "
        f"set_config('idle_in_transaction_session_timeout', '{2 * TIMEOUT_SECONDS}s', true)"
    )
