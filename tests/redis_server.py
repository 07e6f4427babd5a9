"""A Redis server on a free port, for tests marked `redis`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.serving import free_port, until


@dataclass(frozen=True)
class RedisServer:
    """A running Redis server."""

    uri: str
    process: subprocess.Popen[bytes]


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis server without persistence until the block ends."""
    port = free_port()
    command = shutil.which("redis-server")
    assert command is not None
    process = subprocess.Popen(
        [command, "--port", str(port), "--save", "", "--dir", str(folder)],
        stdout=subprocess.PIPE,
    )
    output = process.stdout
    assert output is not None
    try:
        until(lambda: b"Ready to accept" in output.readline())
        yield RedisServer(f"redis://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.communicate()
