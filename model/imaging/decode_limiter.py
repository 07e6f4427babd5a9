"""Limit on the pixels decoded concurrently: a file of 500 bytes can decode to over a gigabyte.

Small photos never wait here; large ones share a pixel budget.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

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
        self._changed = threading.Condition()
        self._acquired = 0

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
        with self._changed:
            if not self._changed.wait_for(
                lambda: not self._acquired or self._acquired + pixels <= capacity, self._timeout
            ):
                raise DecodeLimitError
            self._acquired += pixels
        try:
            yield
        finally:
            with self._changed:
                self._acquired -= pixels
                self._changed.notify_all()
