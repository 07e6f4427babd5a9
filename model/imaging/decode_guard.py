"""Guards against files that cost a decoder minutes.

Pillow reads the parts of a file one by one in Python while holding the GIL. No encoder writes
hundreds of thousands of parts, but a few megabytes can hold them.
"""

from __future__ import annotations

import io
import re
from typing import Final

# The largest photo needs about 16,000 reads; 300,000 take most of a second.
_MAX_READS: Final = 300_000

# Entry of the EXIF block in the item list of an AVIF or HEIC, up to its type.
_EXIF_ITEM: Final = re.compile(rb"(infe[\x02\x03].{7,9})Exif", re.DOTALL)


class OddStructureError(Exception):
    """A file with a structure that no encoder writes; the message completes "The image is …"."""


class MeteredFile(io.BytesIO):
    """An in-memory file that limits the number of reads."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes; all that remain if it is negative or None.

        Raises:
            OddStructureError: The limit of reads is exceeded.
        """
        self._reads += 1
        if self._reads > _MAX_READS:
            raise OddStructureError("made of too many small parts")
        return super().read(size)


def without_exif_item(data: bytes) -> bytes:
    """Return an AVIF or HEIC with its EXIF block renamed, so that it is not parsed.

    The orientation is unaffected: both store it in a separate property.
    """
    return _EXIF_ITEM.sub(rb"\1skip", data)
