"""The photos of a bulk job, listed once and stored beside its results.

Row group K of the file holds the photos of part K, so a process reads only its own parts. Dataset
readers skip files whose name starts with an underscore.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from model.bulk.parts import written_parts
from model.bulk.sources import Source, SourceError
from model.bulk.storage import Location, StorageError
from model.errors import PetalscopeError
from model.imaging.formats import FORMAT_NAMES

PHOTO_LIST_FILE: Final = "_photos.parquet"
DEFAULT_PART_SIZE: Final = 1000

_SCHEMA: Final = pa.schema([pa.field("path", pa.binary(), nullable=False)])


class JobMismatchError(PetalscopeError):
    """An output folder that holds the results of another job."""


class PhotoList:
    """The photos of a job in parts.

    Attributes:
        part_size: Photos per part; the last part may have fewer.
        photo_count: Photos of all parts.
        part_count: Number of parts.
    """

    def __init__(self, data: bytes) -> None:
        self._file = pq.ParquetFile(io.BytesIO(data))
        metadata = self._file.metadata
        self._facts = {
            key.decode(): os.fsdecode(value)
            for key, value in (self._file.schema_arrow.metadata or {}).items()
        }
        self.part_size = int(self._facts["part_size"])
        self.photo_count: int = metadata.num_rows
        self.part_count: int = metadata.num_row_groups

    def photos(self, part: int) -> list[str]:
        """Return the names of a part's photos."""
        column = self._file.read_row_group(part).column("path")
        return [os.fsdecode(path) for path in column.to_pylist()]

    def size(self, part: int) -> int:
        """Return the number of photos of a part."""
        return int(self._file.metadata.row_group(part).num_rows)

    def check(self, source: str, model_version: str, part_size: int | None) -> None:
        """Check that the list belongs to a job.

        Args:
            source: URL of the source.
            model_version: Version of the checkpoint.
            part_size: Photos per part; None for any.

        Raises:
            JobMismatchError: It belongs to another job.
        """
        expected = {"source": source, "model_version": model_version}
        if part_size is not None:
            expected["part_size"] = str(part_size)
        for fact, wanted in expected.items():
            if self._facts[fact] != wanted:
                raise JobMismatchError(
                    f"--output holds the results of another job: its {fact.replace('_', ' ')} is "
                    f"{self._facts[fact]}, not {wanted}. Choose another folder."
                )


def open_photo_list(
    output: Location, source: Source, model_version: str, part_size: int | None = None
) -> PhotoList:
    """Return the list of photos of an output folder; the first process of a job writes it.

    Args:
        output: Folder of the results.
        source: Source of the photos.
        model_version: Version of the checkpoint.
        part_size: Photos per part; None for that of the folder, or 1,000.

    Raises:
        JobMismatchError: The folder holds the results of another source, checkpoint or part size,
            or parts without their list.
        SourceError: The source has no photos.
        StorageError: The list cannot be read or written.
    """
    file = output / PHOTO_LIST_FILE
    data = _read(file, output)
    if data is None:
        # A process writes its list before its first part, so parts are looked for first.
        has_parts = bool(written_parts(output))
        data = _read(file, output)
        if data is None and has_parts:
            raise JobMismatchError(
                f"{output.url} holds results without their {PHOTO_LIST_FILE}; choose another "
                "--output."
            )
    if data is None:
        facts = {"source": source.url, "model_version": model_version}
        file.create(_listed(source, facts, part_size or DEFAULT_PART_SIZE))
        # Another process may have been first.
        data = _read(file, output)
        if data is None:
            raise StorageError(f"{file.url} has been removed; repeat the command.")
    try:
        photos = PhotoList(data)
    except (pa.ArrowException, KeyError) as error:
        raise JobMismatchError(
            f"{file.url} is not a list of this script; choose another --output."
        ) from error
    photos.check(source.url, model_version, part_size)
    return photos


def _read(file: Location, output: Location) -> bytes | None:
    """Return the content of the list; None if it does not exist."""
    try:
        return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{output.url} cannot be used: {error.strerror}.") from error


def _listed(source: Source, facts: dict[str, str], part_size: int) -> bytes:
    buffer = io.BytesIO()
    stored = {**facts, "part_size": str(part_size)}
    schema = _SCHEMA.with_metadata({key: os.fsencode(value) for key, value in stored.items()})
    empty = True
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for names in _chunks(source.names(), part_size):
            paths = pa.array([os.fsencode(name) for name in names], pa.binary())
            writer.write_table(pa.table([paths], schema=schema), row_group_size=part_size)
            empty = False
    if empty:
        raise SourceError(
            f"{source.url} holds no photos. Name a folder of {FORMAT_NAMES} files, or a .txt file "
            "with one path or URL per line."
        )
    return buffer.getvalue()


def _chunks(names: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(itertools.islice(names, size)):
        yield chunk
