"""An exclusive lock on a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import PetalscopeError

if sys.platform != "win32":
    import fcntl


class FolderInUseError(PetalscopeError):
    """A folder that another process is using."""


@contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """Lock a folder until the block ends, and create it if missing.

    The system releases the lock of a killed process. On Windows nothing is locked.

    Raises:
        FolderInUseError: Another process holds the lock.
        OSError: The folder cannot be created or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        if sys.platform != "win32":
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderInUseError(
                    f"Another process is working in {folder}; wait until it has ended."
                ) from None
        yield
