"""Downloads of single files over HTTP."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import BinaryIO, Final

import pooch
import requests

from model.errors import PetalscopeError

MAX_DOWNLOAD_BYTES: Final = 4 * 10**9
_TIMEOUT_S: Final = 30


class DownloadError(PetalscopeError):
    """A failed download."""


class _LimitedFile:
    """A file that refuses to grow beyond `MAX_DOWNLOAD_BYTES`, announced length or not."""

    def __init__(self, file: BinaryIO, url: str) -> None:
        self._file = file
        self._url = url
        self._size = 0

    def write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > MAX_DOWNLOAD_BYTES:
            raise DownloadError(
                f"{self._url} is larger than {MAX_DOWNLOAD_BYTES / 1e9:g} GB: check the address."
            )
        self._file.write(chunk)

    def flush(self) -> None:
        self._file.flush()


def _download(url: str, output_file: str, pooch_: pooch.Pooch | None) -> None:
    """Download with a timeout, a size limit, and a progress bar on a terminal."""
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT_S)
    with Path(output_file).open("wb") as file:
        download(url, _LimitedFile(file, url), pooch_)


def fetch(url: str, path: Path, known_hash: str | None = None) -> None:
    """Download a file; after a failure nothing is left at `path` or beside it.

    Args:
        url: Address beginning with http:// or https://.
        path: File to write.
        known_hash: Expected hash, "ALGORITHM:HEX"; None skips the check.

    Raises:
        DownloadError: The download failed, or the file is too large or has another hash.
        OSError: The disk is full or not writable.
    """
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url!r} is not a web address: begin it with http:// or https://.")
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=_download)
    except requests.exceptions.RequestException as error:
        raise DownloadError(
            f"{url} cannot be downloaded ({_reason(error)}): check the address and the "
            "connection, then run the command again."
        ) from error
    except ValueError as error:  # by pooch, for another hash
        raise DownloadError(
            f"{url} does not have the expected {known_hash}: check the address and the hash, "
            "then run the command again."
        ) from error


def check_space(folder: Path, needed: int) -> None:
    """Raise DownloadError if the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{folder} needs {needed / 1e6:,.1f} MB and has {free / 1e6:,.1f} MB free: "
            "free some space or choose a folder on another disk."
        )


def _reason(error: requests.exceptions.RequestException) -> str:
    """Return the failure in a few words, without the library's internals."""
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.SSLError):
        return "untrusted certificate"
    if isinstance(error, requests.exceptions.Timeout):
        return f"no response within {_TIMEOUT_S} s"
    if isinstance(error, requests.exceptions.InvalidURL):
        return "invalid address"
    return "connection failed"
