"""One process's share of a bulk job."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final

from model.bulk.parts import TOP_K, result_table, write_part, written_parts
from model.bulk.photo_list import PhotoList
from model.bulk.sources import Source, UnreachableHostError
from model.bulk.storage import Location, StorageError
from model.file_budget import Reserve
from model.prediction.stream import DEFAULT_BATCH_SIZE, Photo, classify

if TYPE_CHECKING:
    from model.classifier import Classifier

# A part of this size without one file that can be read is a lost mount or an expired key.
_SUSPICIOUS_PART: Final = 10


@dataclass(frozen=True)
class Shard:
    """A share of a job's parts: those whose number modulo `total` is `index`."""

    index: int
    total: int

    def parts(self, count: int) -> range:
        """Return the numbers of this shard's parts of a job with `count` parts."""
        return range(self.index, count, self.total)


@dataclass(frozen=True)
class Progress:
    """State of a process after a part.

    Attributes:
        photos: Photos of the shard.
        skipped: Photos of parts that existed at the start.
        done: Photos with a result from this process.
        unreadable: Those of them that could not be read.
        seconds: Time since the start.
    """

    photos: int
    skipped: int
    done: int = 0
    unreadable: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Photos per second."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """Expected time until the shard is complete."""
        return (self.photos - self.skipped - self.done) / self.rate if self.rate else 0.0


def classify_shard(
    classifier: Classifier,
    photos: PhotoList,
    source: Source,
    output: Location,
    shard: Shard,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Classify the photos of a shard and write its missing parts.

    Any number of processes may work on the same shard; each part is written whole, and a later
    writer replaces it by the same results.

    Args:
        classifier: The classifier.
        photos: The list of photos of `output`.
        source: Source of the photos.
        output: Folder of the parts.
        shard: Share of the parts.
        batch_size: Photos per forward pass.
        report: Receives the progress after each part.

    Returns:
        The progress at the end.

    Raises:
        StorageError: A file system fails repeatedly, has no file of a part, or has lost files.
            Complete parts stay.
    """
    written = written_parts(output)
    numbers = shard.parts(photos.part_count)
    missing = [part for part in numbers if part not in written]
    total = sum(photos.size(part) for part in numbers)
    progress = Progress(total, total - sum(photos.size(part) for part in missing))
    started = time.monotonic()
    reads: defaultdict[int, _Reads] = defaultdict(_Reads)
    # One stream for all parts, so that decoding overlaps inference across their borders.
    results = classify(
        classifier,
        _photos(photos, source, missing, reads),
        top_k=min(TOP_K, len(classifier.metadata.classes)),
        batch_size=batch_size,
    )
    for part in missing:
        table = result_table(itertools.islice(results, photos.size(part)), classifier.version)
        is_first = not written and progress.done == 0
        reads[part].check(source, table["path"][0].as_py(), is_first=is_first)
        write_part(output, part, table)
        progress = replace(
            progress,
            done=progress.done + table.num_rows,
            unreadable=progress.unreadable + table.num_rows - table["error"].null_count,
            seconds=time.monotonic() - started,
        )
        report(progress)
    return progress


@dataclass
class _Reads:
    """The reads of a part's files.

    Attributes:
        lost: Files that could not be read.
        unreachable: Those of them whose host cannot be reached.
        reason: The reason of one of them.
        last: Name of the last file that could be read.
    """

    lost: int = 0
    unreachable: int = 0
    reason: str = ""
    last: str | None = None

    def check(self, source: Source, first: str, *, is_first: bool) -> None:
        """Check that the files were not lost with their storage.

        Args:
            source: Source of the photos.
            first: Name of the part's first photo.
            is_first: The job has no part yet, so that an unreachable host may be that of all
                photos.

        Raises:
            StorageError: No file of the part could be read, or one cannot be read any more.
        """
        advice = f"Check {source.url} and its credentials, then repeat the command."
        if self.last is None:
            if self.lost >= _SUSPICIOUS_PART or (self.unreachable and is_first):
                raise StorageError(
                    f"None of the {self.lost} photos from {first} on can be read: {self.reason}. "
                    f"{advice}"
                )
        elif self.lost:
            try:
                source.read(self.last)
            except OSError as error:
                raise StorageError(
                    f"{self.last} can no longer be read: {error.strerror}. {advice}"
                ) from error


def _photos(
    photos: PhotoList, source: Source, parts: Iterable[int], reads: Mapping[int, _Reads]
) -> Iterator[Photo]:
    """Yield the photos of parts, and note the reads of their files.

    Args:
        photos: The list of photos.
        source: Source of the photos.
        parts: Numbers of the parts.
        reads: The reads of each part.
    """
    noting = Lock()

    def read(part: int, name: str, reserve: Reserve) -> bytes:
        try:
            data = source.read(name, reserve)
        except OSError as error:
            with noting:
                reads[part].lost += 1
                reads[part].unreachable += isinstance(error, UnreachableHostError)
                reads[part].reason = error.strerror or str(error)
            raise
        with noting:
            reads[part].last = name
        return data

    for part in parts:
        for name in photos.photos(part):
            yield Photo(name, partial(read, part, name))
