"""How many pixels are decoded at once: a file of 500 bytes can unpack to more than a gigabyte.

    decode_image knows the size -> hold(pixels) -> pixels in memory -> given back

The places of the batcher bound how many photos are in hand, not how large they are. Ordinary photos
never wait here; large ones take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Up to here a photo goes ahead at once: those of all places take little more than one large one. A
# phone's JPEG of 12 megapixels counts as less, for it is decoded at reduced scale.
_ORDINARY_PIXELS: Final = 4_000_000


class DecodeLimitError(Exception):
    """Other large photos are being decoded: come back in a moment."""


class DecodeLimiter:
    """A bound on pixels, shared by all threads.

    Args:
        patience: Most seconds that a photo waits for others to be done.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._changed = threading.Condition()
        self._held = 0

    @contextmanager
    def hold(self, pixels: int, capacity: int) -> Iterator[None]:
        """Hold pixels until the block ends.

        Args:
            pixels: How many.
            capacity: Most pixels that are held by all photos which are not ordinary ones; one that
                alone needs more has the room to itself.

        Raises:
            DecodeLimitError: There was no room in the time that a photo waits.
        """
        if pixels <= _ORDINARY_PIXELS:
            yield
            return
        with self._changed:
            if not self._changed.wait_for(
                lambda: not self._held or self._held + pixels <= capacity, self._timeout
            ):
                raise DecodeLimitError
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()
