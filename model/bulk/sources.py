"""Sources of photos: folders, object-store prefixes and manifest files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Final, Protocol

from model.bulk.storage import Location, UnknownFileSystemError
from model.errors import PetalscopeError
from model.imaging.formats import IMAGE_SUFFIXES

_MANIFEST_SUFFIX: Final = ".txt"


class SourceError(PetalscopeError):
    """A source that is missing or cannot be listed."""


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

    def read(self, name: str) -> bytes:
        """Return the content of a photo's file.

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

    def read(self, name: str) -> bytes:
        """Return the content of a photo's file."""
        return (self._folder / name).read()


class Manifest:
    """A text file with one photo per line: a URL, or a path relative to the file."""

    def __init__(self, file: Location) -> None:
        self._file = file

    @property
    def url(self) -> str:
        """Path or URL of the file."""
        return self._file.url

    def names(self) -> Iterator[str]:
        """Yield the lines that are not empty.

        Raises:
            SourceError: The file cannot be read.
        """
        try:
            yield from (line for line in self._file.lines() if line.strip())
        except OSError as error:
            raise SourceError(f"{self.url} cannot be read: {error.strerror}.") from error

    def read(self, name: str) -> bytes:
        """Return the content of a photo's file."""
        if "://" not in name and not name.startswith("/"):
            return (self._file.parent / name).read()
        try:
            return Location.parse(name).read()
        except UnknownFileSystemError as error:
            # One bad line is no reason to stop.
            code = errno.EPROTONOSUPPORT
            raise OSError(code, os.strerror(code), name) from error


def open_source(url: str) -> Source:
    """Return the photos of a folder or prefix, or of a manifest: a file whose name ends in .txt.

    Raises:
        StorageError: The file system is unknown or not installed.
    """
    location = Location.parse(url)
    return Manifest(location) if url.lower().endswith(_MANIFEST_SUFFIX) else Folder(location)
