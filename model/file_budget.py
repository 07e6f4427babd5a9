"""A limit on the bytes of files that threads hold in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from model.budget import Budget

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
        self._budget = Budget()

    @contextmanager
    def reservation(self) -> Iterator[Reserve]:
        """Yield a function that reserves bytes for one file until the block ends.

        Each call waits for its bytes, and first gives back those of the call before. So a thread
        that waits holds none, and threads never wait for each other.
        """
        own = 0

        def reserve(size: int) -> None:
            nonlocal own
            self._budget.release(own)
            own = 0
            self._budget.acquire(size, self._capacity)
            own = size

        try:
            yield reserve
        finally:
            self._budget.release(own)
