"""A limit on the bytes of files that threads hold in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import TypeAlias

# Called with a number of bytes before they are read; may wait.
Reserve: TypeAlias = Callable[[int], None]


def no_limit(size: int) -> None:
    """Reserve bytes without a limit."""


class FileBudget:
    """A limit on bytes, shared by all threads.

    Args:
        capacity: Maximum bytes of all files together; a larger file is held alone.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = Condition()
        self._reserved = 0

    @contextmanager
    def reservation(self) -> Iterator[Reserve]:
        """Yield a function that reserves bytes for one file until the block ends.

        Each call waits for its bytes, and first gives back those of the call before. So a thread
        that waits holds none, and threads never wait for each other.
        """
        own = 0

        def release() -> None:
            nonlocal own
            self._reserved -= own
            own = 0
            self._changed.notify_all()

        def reserve(size: int) -> None:
            nonlocal own
            with self._changed:
                release()
                self._changed.wait_for(
                    lambda: not self._reserved or self._reserved + size <= self._capacity
                )
                self._reserved += size
                own = size

        try:
            yield reserve
        finally:
            with self._changed:
                release()
