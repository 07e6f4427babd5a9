"""Batch size that fits in memory, adapted while the service runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

_log: Final = logging.getLogger(__name__)

# A failed probe costs one run of a batch, whose photos then run in smaller batches.
_FIRST_PROBE_SECONDS: Final = 60.0
_LONGEST_PROBE_SECONDS: Final = 3600.0


class BatchSizeLimit:
    """A limit that halves when memory runs out, and grows again by probing.

    After a wait, one batch may have twice the size that is known to fit. The wait doubles with each
    probe that runs out of memory.

    Args:
        largest: Limit at the start, which is never exceeded.
        clock: Monotonic time in seconds.
    """

    def __init__(self, largest: int, clock: Callable[[], float]) -> None:
        self._largest = largest
        self._fitting = largest
        self._clock = clock
        self._next_probe = 0.0
        self._wait = _FIRST_PROBE_SECONDS

    def current(self) -> int:
        """Return the maximum size of the next batch."""
        if self._fitting < self._largest and self._clock() >= self._next_probe:
            return min(2 * self._fitting, self._largest)
        return self._fitting

    def note_success(self, size: int) -> None:
        """Note that a batch fitted in memory."""
        if size > self._fitting:
            self._fitting = size
            self._wait = _FIRST_PROBE_SECONDS
            self._next_probe = self._clock() + self._wait
            _log.warning("raised the maximum batch size to %d", size)

    def note_out_of_memory(self, size: int) -> None:
        """Note that a batch of 2 photos or more ran out of memory."""
        if size > self._fitting:
            self._wait = min(2 * self._wait, _LONGEST_PROBE_SECONDS)
        else:
            self._fitting = size // 2
        self._next_probe = self._clock() + self._wait
        _log.warning("out of memory: the maximum batch size is %d", self._fitting)
