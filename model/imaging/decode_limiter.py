"""Limit on the pixels decoded concurrently: a file of 500 bytes can decode to over a gigabyte.

Small photos never wait here; large ones share a pixel budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from model.budget import Budget

# Photos up to this size bypass the limiter. A phone's 12-megapixel JPEG qualifies, since it is
# decoded at reduced scale.
SMALL_PIXELS: Final = 1_000_000


class DecodeLimitError(Exception):
    """The pixel budget stayed exhausted until the timeout."""


class DecodeLimiter:
    """A limit on pixels in memory, shared by all threads.

    Args:
        timeout: Maximum wait for other photos, in seconds; None waits as long as they take.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._timeout = timeout
        self._budget = Budget()

    @contextmanager
    def acquire(self, pixels: int, capacity: int) -> Iterator[None]:
        """Acquire part of the pixel budget until the block ends.

        Args:
            pixels: Size of the photo in pixels.
            capacity: Maximum pixels of all large photos together; a larger photo is decoded alone.

        Raises:
            DecodeLimitError: The budget stayed exhausted until the timeout.
        """
        if pixels <= SMALL_PIXELS:
            yield
            return
        if not self._budget.acquire(pixels, capacity, self._timeout):
            raise DecodeLimitError
        try:
            yield
        finally:
            self._budget.release(pixels)
