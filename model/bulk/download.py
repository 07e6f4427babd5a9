"""Reads of files that are not on this machine, within a limit on memory."""

from __future__ import annotations

import errno
import os
from typing import Any, Final

from fsspec.asyn import sync

from model.file_budget import Reserve
from model.regular_file import MAX_BYTES

# Most photos are smaller, and take one request.
FIRST_BYTES: Final = 8 * 1024 * 1024
# A transfer ends with a copy of its pieces.
_COPIES: Final = 2


def download(fs: Any, path: str, reserve: Reserve) -> bytes:
    """Return the content of a file.

    Args:
        fs: File system of fsspec.
        path: Path on it.
        reserve: Called with the bytes that the transfer takes, and then with those of the file.

    Raises:
        OSError: The file is larger than 512 MiB.
        Exception: The file system's own.
    """
    reserve(_COPIES * FIRST_BYTES)
    data = _read(fs, path, FIRST_BYTES)
    if len(data) == FIRST_BYTES:
        del data  # before it waits for more memory
        size = fs.size(path) or MAX_BYTES  # a web server may not send it
        if size <= MAX_BYTES:
            reserve(_COPIES * size)
            data = _read(fs, path, size + 1)
            size = max(size, len(data))
        if size > MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    reserve(len(data))
    return data


def _read(fs: Any, path: str, most: int) -> bytes:
    """Return the first bytes of a file, or all if it has fewer."""
    if "https" in fs.protocol:
        # A server may ignore the range of `cat_file`.
        return bytes(sync(fs.loop, _get, fs, path, most))
    try:
        return bytes(fs.cat_file(path, end=most))
    except (FileNotFoundError, PermissionError):
        raise
    except Exception:  # each file system has its own
        if fs.size(path) == 0:  # an empty object has no range
            return b""
        raise


async def _get(fs: Any, url: str, most: int) -> bytes:
    session = await fs.set_session()
    # As in the request for the size.
    headers = {"Accept-Encoding": "identity"}
    async with session.get(fs.encode_url(url), headers=headers) as response:
        response.raise_for_status()
        pieces = []
        while most and (piece := await response.content.read(most)):
            pieces.append(piece)
            most -= len(piece)
        return b"".join(pieces)
