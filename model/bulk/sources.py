"""Sources of photos: folders, object-store prefixes and manifest files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Final, Protocol

from model.bulk.storage import Location, StorageError, UnknownFileSystemError
from model.errors import PetalscopeError
from model.file_budget import Reserve, no_limit
from model.imaging.formats import IMAGE_SUFFIXES

_MANIFEST_SUFFIX: Final = ".txt"
_BYTE_ORDER_MARK: Final = "\ufeff"
_UTF_16_STARTS: Final = (os.fsdecode(b"\xff\xfe"), os.fsdecode(b"\xfe\xff"))


class SourceError(PetalscopeError):
    """A source that is missing or cannot be listed."""


class UnreachableHostError(OSError):
    """A host of a manifest's URLs that has answered no request of this process."""


class Source(Protocol):
    """A list of photos."""

    @property
    def url(self) -> str:
        """Path or URL of the source."""

    def names(self) -> Iterator[str]:
        """Yield the name of each photo, always in the same order.

        Raises:
            SourceError: The source cannot be listed.
        """

    def read(self, name: str, reserve: Reserve = no_limit) -> bytes:
        """Return the content of a photo's file.

        Args:
            name: Name of the photo.
            reserve: Called with the bytes that the file takes in memory before it is read.

        Raises:
            OSError: The file is missing or may not be read.
            StorageError: The file system fails repeatedly.
        """


class Folder:
    """The photos below a folder or prefix by suffix, named by their path below it."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder

    @property
    def url(self) -> str:
        """Path or URL of the folder."""
        return self._folder.url

    def names(self) -> Iterator[str]:
        """Yield the path of each photo, sorted by folder.

        Raises:
            SourceError: A folder cannot be listed.
        """
        try:
            for name in self._folder.walk():
                if name.lower().endswith(IMAGE_SUFFIXES):
                    yield name
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be listed: {error.strerror}.") from error

    def read(self, name: str, reserve: Reserve = no_limit) -> bytes:
        """Return the content of a photo's file."""
        return (self._folder / name).read(reserve)


class Manifest:
    """A text file with one photo per line: a URL, or a path relative to the file."""

    def __init__(self, file: Location) -> None:
        self._file = file
        self._answered: dict[str, Location] = {}  # a URL of each host that has answered
        self._unreachable: set[str] = set()  # hosts

    @property
    def url(self) -> str:
        """Path or URL of the file."""
        return self._file.url

    def names(self) -> Iterator[str]:
        """Yield the lines that are not empty.

        Raises:
            SourceError: The file cannot be read, or is UTF-16.
        """
        try:
            for number, line in enumerate(self._file.lines()):
                if number == 0 and line.startswith(_UTF_16_STARTS):
                    raise SourceError(f"{self.url} is UTF-16; save it as UTF-8.")
                name = line.removeprefix(_BYTE_ORDER_MARK) if number == 0 else line
                if name.strip():
                    yield name
        except OSError as error:
            raise SourceError(f"{self.url} cannot be read: {error.strerror}.") from error

    def read(self, name: str, reserve: Reserve = no_limit) -> bytes:
        """Return the content of a photo's file.

        Raises:
            UnreachableHostError: The URL's host fails repeatedly, and has never answered.
            OSError: The file is missing or may not be read, the line is malformed, or the host
                fails for this URL only.
            StorageError: A file system fails repeatedly that has answered before.
        """
        if "://" not in name and not name.startswith("/"):
            return (self._file.parent / name).read(reserve)
        try:
            location = Location.parse(name)
        except StorageError as error:
            # One bad line is no reason to stop.
            code = errno.EPROTONOSUPPORT
            reason = os.strerror(code)
            if not isinstance(error, UnknownFileSystemError):
                reason = "The package of its file system is not installed"
            raise OSError(code, reason, name) from error
        if location.is_local:
            return location.read(reserve)
        return self._read_remote(location, reserve)

    def _read_remote(self, location: Location, reserve: Reserve) -> bytes:
        host = "/".join(location.url.split("/", 3)[:3])
        try:
            data = location.read(reserve, retries=host not in self._unreachable)
        except (FileNotFoundError, PermissionError):
            self._answered[host] = location
            raise
        except StorageError as error:
            answered = self._answered.get(host)
            if answered is None:
                # The host may be gone, and further lines may name it.
                self._unreachable.add(host)
                reason = "The host cannot be reached"
                raise UnreachableHostError(errno.EHOSTUNREACH, reason, location.url) from error
            if not _answers(answered, reserve):
                raise  # an outage may pass, so it ends the job
            reason = "The host does not send this file"
            raise OSError(errno.EIO, reason, location.url) from error
        self._answered[host] = location
        self._unreachable.discard(host)
        return data


def _answers(location: Location, reserve: Reserve) -> bool:
    """Return True if a host sends a file, or says why not."""
    try:
        location.read(reserve, retries=False)
    except StorageError:
        return False
    except OSError:
        return True
    return True


def open_source(url: str) -> Source:
    """Return the photos of a folder or prefix, or of a manifest: a file whose name ends in .txt.

    Raises:
        StorageError: The file system is unknown or not installed.
    """
    location = Location.parse(url)
    return Manifest(location) if url.lower().endswith(_MANIFEST_SUFFIX) else Folder(location)
