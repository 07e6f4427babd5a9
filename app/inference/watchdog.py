"""Detection of a model that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LONGEST_POLL_SECONDS: Final = 1.0
_POLLS_PER_LIMIT: Final = 4


class Watchdog:
    """A thread that reports a block of code that runs too long.

    Args:
        limit: Longest duration of a block, in seconds.
        on_timeout: Called at most once, on the watchdog's thread, while the block still runs.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self, limit: float, on_timeout: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self._limit = limit
        self._on_timeout = on_timeout
        self._clock = clock
        self._started: float | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._poll, name="watchdog", daemon=True).start()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the block; blocks must not overlap."""
        self._started = self._clock()
        try:
            yield
        finally:
            self._started = None

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _poll(self) -> None:
        interval = min(_LONGEST_POLL_SECONDS, self._limit / _POLLS_PER_LIMIT)
        while not self._stopped.wait(interval):
            started = self._started
            if started is not None and self._clock() - started >= self._limit:
                self._on_timeout()
                return
