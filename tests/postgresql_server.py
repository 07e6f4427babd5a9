"""A PostgreSQL server on a free port, for tests marked `postgresql`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "petalscope"
_TIMEOUT_SECONDS = 90


@dataclass(frozen=True)
class PostgresqlServer:
    """A running PostgreSQL server that trusts every local connection."""

    port: int
    process: subprocess.Popen[bytes]

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, database: str) -> str:
        """Create an empty database and return its SQLAlchemy URL."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)


def find_postgresql() -> Path | None:
    """Return the folder of PostgreSQL's programs; Debian keeps them off the PATH."""
    found = shutil.which("postgres")
    paths = [Path(found).resolve()] if found else []
    paths += sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return next((path.parent for path in paths if (path.parent / "initdb").exists()), None)


@contextmanager
def running_postgresql() -> Iterator[PostgresqlServer]:
    """Run an empty server until the block ends."""
    from tests.serving import free_port  # its module imports conftest.py, which imports this one

    programs = find_postgresql()
    assert programs is not None
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as name:
        if user is not None:
            shutil.chown(name, user)
        data = Path(name, "data")
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        options = ["-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(
            [programs / "initdb", *options],
            user=user,
            cwd=name,
            env=environment,
            check=True,
            capture_output=True,
        )
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), "-k", name, "-F"],
            user=user,
            cwd=name,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        server = PostgresqlServer(port, process)
        try:
            _wait(server)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # SIGTERM would wait for clients
            process.wait(_TIMEOUT_SECONDS)


def _wait(server: PostgresqlServer) -> None:
    import psycopg

    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            psycopg.connect(server.url("postgres")).close()
        except psycopg.OperationalError:
            assert server.process.poll() is None, "PostgreSQL ended"
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.05)
        else:
            return
