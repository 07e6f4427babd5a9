"""One process's share of a bulk job."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final

from model.bulk.parts import TOP_K, result_table, write_part, written_parts
from model.bulk.photo_list import PhotoList
from model.bulk.sources import Source, UnreachableHostError
from model.bulk.storage import Location, StorageError
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
        StorageError: A file system fails repeatedly, or has no file of a part. Complete parts stay.
    """
    written = written_parts(output)
    numbers = shard.parts(photos.part_count)
    missing = [part for part in numbers if part not in written]
    total = sum(photos.size(part) for part in numbers)
    progress = Progress(total, total - sum(photos.size(part) for part in missing))
    started = time.monotonic()
    lost: Counter[int] = Counter()
    unreachable: Counter[int] = Counter()
    # One stream for all parts, so that decoding overlaps inference across their borders.
    results = classify(
        classifier,
        _photos(photos, source, missing, lost, unreachable),
        top_k=min(TOP_K, len(classifier.metadata.classes)),
        batch_size=batch_size,
    )
    for part in missing:
        table = result_table(itertools.islice(results, photos.size(part)), classifier.version)
        # Without any part yet, an unreachable host may be that of all photos.
        suspicious = table.num_rows >= _SUSPICIOUS_PART or (
            unreachable[part] > 0 and not written and progress.done == 0
        )
        if lost[part] == table.num_rows and suspicious:
            raise StorageError(
                f"None of the {lost[part]} photos from {table['path'][0]} on can be read: "
                f"{table['error'][0]} Check {source.url} and its credentials, then repeat the "
                "command."
            )
        write_part(output, part, table)
        progress = replace(
            progress,
            done=progress.done + table.num_rows,
            unreadable=progress.unreadable + table.num_rows - table["error"].null_count,
            seconds=time.monotonic() - started,
        )
        report(progress)
    return progress


def _photos(
    photos: PhotoList,
    source: Source,
    parts: Iterable[int],
    lost: Counter[int],
    unreachable: Counter[int],
) -> Iterator[Photo]:
    """Yield the photos of parts, and count the files of each part that could not be read.

    Args:
        photos: The list of photos.
        source: Source of the photos.
        parts: Numbers of the parts.
        lost: Receives the number of files of each part that could not be read.
        unreachable: Receives the number of those whose host cannot be reached.
    """
    counting = Lock()

    def read(part: int, name: str) -> bytes:
        try:
            return source.read(name)
        except OSError as error:
            with counting:
                lost[part] += 1
                unreachable[part] += isinstance(error, UnreachableHostError)
            raise

    for part in parts:
        for name in photos.photos(part):
            yield Photo(name, partial(read, part, name))
