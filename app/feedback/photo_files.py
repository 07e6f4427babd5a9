"""Photo files named by the SHA-256 of their content.

Callers hold the lock of the database, so that one process at a time changes files. A file is on
disk before the transaction that refers to it commits. A deleted file keeps a retired name until the
commit, so a failed transaction can restore it. A crash therefore leaves at most a file without a
row, which `sweep` removes.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from model.atomic_write import atomic_write

_STORED: Final = re.compile(r"([0-9a-f]{64})\.jpg")
_RETIRED: Final = re.compile(r"([0-9a-f]{64})\.[0-9a-f]{16}\.retired")
_TEMPORARY: Final = re.compile(r"\.[0-9a-f]{64}\.jpg\..+")


class PhotoFiles:
    """The photos in one folder.

    Args:
        folder: The folder; `create` creates it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self) -> None:
        """Create the folder for this user only, if it is missing.

        Raises:
            OSError: The folder cannot be created.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Return the path of a photo."""
        return self._folder / f"{sha256}.jpg"

    def add(self, sha256: str, data: bytes) -> None:
        """Write a photo so that it survives a power failure.

        Raises:
            OSError: The disk is full or the folder is not writable; no file is left.
        """
        with atomic_write(self.path(sha256)) as temporary:
            temporary.write_bytes(data)
        self._sync()

    def retire(self, sha256: str) -> Path | None:
        """Rename a photo that is about to be deleted; return its new path, or None without a file.

        Raises:
            OSError: The folder is not writable.
        """
        retired = self._folder / f"{sha256}.{secrets.token_hex(8)}.retired"
        try:
            self.path(sha256).rename(retired)
        except FileNotFoundError:
            return None
        return retired

    def sweep(self, known: AbstractSet[str]) -> None:
        """Remove what an interrupted process left, and restore photos that are not deleted.

        Args:
            known: SHA-256 of the photos in the database. Files of other programs stay.

        Raises:
            OSError: The folder cannot be read or written.
        """
        for path in list(self._folder.iterdir()):
            stored = _STORED.fullmatch(path.name)
            retired = _RETIRED.fullmatch(path.name)
            if retired and retired[1] in known:
                path.replace(self.path(retired[1]))
            elif retired or _TEMPORARY.fullmatch(path.name) or (stored and stored[1] not in known):
                path.unlink(missing_ok=True)
        self._sync()

    def any(self) -> bool:
        """Return True if the folder has a photo.

        Raises:
            OSError: The folder cannot be read.
        """
        return any(_STORED.fullmatch(path.name) for path in self._folder.iterdir())

    def _sync(self) -> None:
        """Write the folder's names to disk."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of a photo in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
