"""Reads of files that end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from model.file_budget import Reserve, no_limit

# Twice the largest photo without compression. Anything larger has the wrong name.
MAX_BYTES: Final = 512 * 1024 * 1024


class NotRegularFileError(OSError):
    """A pipe, socket or device: a read may wait forever or never end."""


def open_regular_file(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        NotRegularFileError: The path is a pipe, socket or device.
        OSError: The file is missing or may not be read, or the path is a folder.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise NotRegularFileError(errno.EINVAL, "Not a regular file", str(path))
    return path.open("rb")


def read_regular_file(path: Path, reserve: Reserve = no_limit) -> bytes:
    """Return the content of a file of at most 512 MiB; see `open_regular_file`.

    Args:
        path: The file.
        reserve: Called with the file's size before it is read.

    Raises:
        OSError: The file is larger, or cannot be opened.
    """
    with open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        reserve(size)
        return file.read()
