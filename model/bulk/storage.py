"""Files on any file system of fsspec: reads with retries, atomic writes, and listings."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from fsspec import get_filesystem_class
from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

from model.atomic_write import atomic_write
from model.bulk.download import download
from model.errors import PetalscopeError
from model.file_budget import Reserve, no_limit
from model.regular_file import NotRegularFileError, open_regular_file, read_regular_file

# One PUT makes a whole object visible. Other remote file systems show half-written files.
_OBJECT_STORES: Final = frozenset({"s3", "s3a", "gs", "gcs"})
# Failures that belong to one file. All others, such as a lost connection, may pass.
_PERMANENT: Final = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EFBIG,
    }
)
_RETRY_SECONDS: Final = (0.5, 2.0, 8.0)
# A host that drops packets would hold a reader for minutes: aiohttp waits five for a connection.
CONNECT_SECONDS: Final = 10
_SILENCE_SECONDS: Final = 30
_NOT_FOUND: Final = 404
_TOO_MANY_REQUESTS: Final = 429
_REQUEST_TIMEOUT: Final = 408

_T = TypeVar("_T")


class StorageError(PetalscopeError):
    """A file system that is unknown, not installed, or fails repeatedly."""


class UnknownFileSystemError(StorageError):
    """A URL whose scheme no file system has, or that the file system does not accept."""


@dataclass(frozen=True)
class Location:
    """A file or folder on a file system.

    Attributes:
        url: Path or URL; a local path is absolute.
    """

    url: str
    _fs: Any
    _path: str

    @classmethod
    def parse(cls, url: str) -> Location:
        """Return the location of a local path or a URL such as s3://bucket/folder.

        Raises:
            UnknownFileSystemError: No file system has the URL's scheme or accepts the URL.
            StorageError: The package of the file system is not installed.
        """
        try:
            fs, path = _file_system(url)
        except ImportError as error:
            raise StorageError(f"{url} cannot be used: {error}.") from error
        except Exception as error:  # each file system has its own
            raise UnknownFileSystemError(f"{url} cannot be used: {error}.") from error
        path = path.rstrip("/") or "/"
        return cls(path if isinstance(fs, LocalFileSystem) else url.rstrip("/"), fs, path)

    def __truediv__(self, name: str) -> Location:
        """Return the location of a file in this folder."""
        return Location(f"{self.url}/{name}", self._fs, f"{self._path}/{name}")

    @property
    def parent(self) -> Location:
        """The folder of this file."""
        return Location(self.url.rpartition("/")[0], self._fs, self._path.rpartition("/")[0])

    @property
    def is_local(self) -> bool:
        """True for a file of this machine."""
        return isinstance(self._fs, LocalFileSystem)

    @property
    def is_writable(self) -> bool:
        """True if files can be written atomically: local folders and object stores."""
        protocols = self._fs.protocol
        names = {protocols} if isinstance(protocols, str) else set(protocols)
        return self.is_local or not names.isdisjoint(_OBJECT_STORES)

    def names(self) -> list[str]:
        """Return the names of the files and folders in this folder; none if it is missing.

        Raises:
            StorageError: The folder may not be listed, or the file system fails repeatedly.
        """
        try:
            listing = self._retried(lambda path: self._fs.ls(path, detail=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed("listed", error) from error
        return [str(path).rstrip("/").rpartition("/")[2] for path in listing]

    def walk(self) -> Iterator[str]:
        """Yield the paths of all files below this folder, relative to it.

        Each folder's entries are sorted by name. Hidden files and folders are left out, and links
        to folders are not followed.

        Raises:
            OSError: A folder cannot be listed.
            StorageError: The file system fails repeatedly.
        """
        yield from self._walk(self._path, "")

    def _walk(self, path: str, prefix: str) -> Iterator[str]:
        listing = self._retried(
            lambda _: [
                (str(entry["name"]).rstrip("/"), entry["type"])
                for entry in self._fs.ls(path, detail=True)
            ]
        )
        for entry, kind in sorted(listing):
            name = entry.rpartition("/")[2]
            # An object store may list the folder itself as an empty object.
            if entry == path or name.startswith("."):
                continue
            if kind == "directory":
                yield from self._walk(entry, f"{prefix}{name}/")
            elif kind == "file" or self._fs.isfile(entry):  # a link to a file is "other"
                yield f"{prefix}{name}"

    def read(self, reserve: Reserve = no_limit, *, retries: bool = True) -> bytes:
        """Return the content of the file.

        Args:
            reserve: Called with the bytes that the file takes in memory before it is read.
            retries: Try again if the file system fails.

        Raises:
            OSError: The file is missing, may not be read, is no regular file or is larger than
                512 MiB, or its name is malformed or too long.
            StorageError: The file system fails repeatedly.
        """
        if self.is_local:
            return self._retried(lambda path: read_regular_file(Path(path), reserve), retries)
        return self._retried(lambda path: download(self._fs, path, reserve), retries)

    def lines(self) -> Iterator[str]:
        """Yield the lines of a text file without their ends.

        Raises:
            OSError: The file is missing, may not be read or is no regular file.
        """
        with self._retried(self._opened) as file:
            for line in file:
                yield os.fsdecode(line).rstrip("\r\n")

    def write(self, data: bytes) -> None:
        """Write the file. Readers find the old file or the whole new one.

        Raises:
            StorageError: The folder is not writable, or the file system fails repeatedly.
        """
        try:
            if self.is_local:
                with atomic_write(Path(self._path)) as temporary:
                    temporary.write_bytes(data)
            else:
                self._retried(lambda path: self._fs.pipe_file(path, data))
        except OSError as error:
            raise self._failed("written", error) from error

    def create(self, data: bytes) -> None:
        """Write the file unless it exists. The first of several writers wins.

        Raises:
            StorageError: The folder is not writable, or the file system fails repeatedly.
        """
        try:
            if self.is_local:
                self._create(self._path, data)
            else:
                self._retried(lambda path: self._create(path, data))
        except OSError as error:
            raise self._failed("written", error) from error

    def _create(self, path: str, data: bytes) -> None:
        try:
            if self.is_local:
                _create(Path(path), data)
            else:
                self._fs.pipe_file(path, data, mode="create")
        except Exception:  # each file system has its own
            # Another writer, or an earlier attempt whose response was lost, may have succeeded.
            if not self._fs.exists(path):
                raise

    def _opened(self, path: str) -> Any:
        return open_regular_file(Path(path)) if self.is_local else self._fs.open(path, "rb")

    def _retried(self, action: Callable[[str], _T], retries: bool = True) -> _T:
        # None: no further attempt
        for seconds in (*(_RETRY_SECONDS if retries else ()), None):
            try:
                return action(self._path)
            except NotRegularFileError:
                raise
            except Exception as error:  # each file system has its own
                if (code := _permanent_errno(error)) is not None:
                    # Some file systems give no strerror.
                    raise OSError(code, os.strerror(code), self.url) from error
                if seconds is None:
                    raise self._failed("reached", error) from error
                time.sleep(seconds)
        raise AssertionError("unreachable")

    def _failed(self, what: str, error: Exception) -> StorageError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return StorageError(f"{self.url} cannot be {what}: {reason}.")


def _file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path on it.

    fsspec's `url_to_fs` would also read "::", which file names may contain.
    """
    protocol, _ = split_protocol(url)
    kind = get_filesystem_class(protocol)
    options = kind._get_kwargs_from_urls(url)
    if protocol in ("http", "https"):
        options["client_kwargs"] = {"timeout": _http_timeout()}
    # Cached listings of a large bucket would stay in memory, and hide new parts.
    return kind(**options, use_listings_cache=False), str(kind._strip_protocol(url))


def _http_timeout() -> Any:
    import aiohttp  # slow to import

    return aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)


def _permanent_errno(error: Exception) -> int | None:
    """Return the error number of a failure that belongs to one file; None if it may pass."""
    if isinstance(error, FileNotFoundError):
        return errno.ENOENT
    if isinstance(error, PermissionError):
        return errno.EACCES
    if isinstance(error, OSError) and error.errno in _PERMANENT:
        return error.errno
    if _is_malformed(error):
        return errno.EINVAL
    status = getattr(error, "status", None)  # aiohttp's
    if status == _NOT_FOUND:
        return errno.ENOENT
    if isinstance(status, int) and 400 <= status < 500:
        return None if status in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS) else errno.EACCES
    return None


def _is_malformed(error: Exception) -> bool:
    """Return True if a name can be none of the file system's, such as one with a NUL byte."""
    # A body that is not JSON is a failure of the server.
    if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
        return True
    # botocore's, which is not imported for local files.
    return type(error).__name__ == "ParamValidationError"


def _create(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # the file system has no hard links
            if path.exists():
                raise FileExistsError from None
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
