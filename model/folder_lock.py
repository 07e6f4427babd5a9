"""A lock that keeps a second process out of a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import PetalscopeError

if sys.platform != "win32":
    import fcntl


class FolderInUseError(PetalscopeError):
    """Another process works in the folder."""


@contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where missing, until the block ends; a kill sets it free.

    Windows has no such lock; there nothing is held.

    Raises:
        FolderInUseError: Another process holds it.
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
