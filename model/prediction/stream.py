"""Classification of many photos in order, with bounded memory."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Final

from model.backends.base import Array, Pixels
from model.control_groups import usable_cores
from model.file_budget import FileBudget, Reserve, no_limit
from model.imaging.decode import decode_image
from model.imaging.decode_limiter import DecodeLimiter
from model.imaging.formats import ImageError
from model.imaging.limits import DEFAULT_LIMITS
from model.regular_file import read_regular_file

if TYPE_CHECKING:
    from model.classifier import ClassificationResult, Classifier

DEFAULT_BATCH_SIZE: Final = 32
# More threads than cores read files, which may wait for a network; one per core decodes.
_READERS: Final = 16
_MAX_DECODERS: Final = 8
_BATCHES_AHEAD: Final = 2
# Files that are read while others are decoded: sixteen phone photos, or four large scans.
MAX_FILE_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True)
class Photo:
    """A photo to classify.

    Attributes:
        name: Name in the output.
        source: Path or bytes of the file, or a function that returns its bytes. It reserves their
            number before it reads them. Its OSError is the reason of an unreadable photo; its other
            exceptions end the stream.
    """

    name: str
    source: Path | bytes | Callable[[Reserve], bytes]

    def read(self, reserve: Reserve = no_limit) -> bytes:
        """Return the bytes of the file.

        Args:
            reserve: Called with their number before they are read.

        Raises:
            OSError: The file is missing, may not be read, or is no regular file.
        """
        if isinstance(self.source, Path):
            return read_regular_file(self.source, reserve)
        return self.source if isinstance(self.source, bytes) else self.source(reserve)


@dataclass(frozen=True)
class Classified:
    """A classified photo.

    Attributes:
        photo: The photo.
        result: Predictions and verdict.
        activations: Class activation map of the most probable class, float32 (h, w); None if the
            network has none.
    """

    photo: Photo
    result: ClassificationResult
    activations: Array | None


@dataclass(frozen=True)
class Unreadable:
    """A photo that could not be read.

    Attributes:
        photo: The photo.
        reason: The cause, as a sentence.
    """

    photo: Photo
    reason: str


def classify(
    classifier: Classifier,
    photos: Iterable[Photo],
    *,
    top_k: int,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Iterator[Classified | Unreadable]:
    """Classify photos in batches; unreadable ones do not stop the others.

    Args:
        classifier: The classifier.
        photos: The photos, read at most two batches ahead.
        top_k: Number of predictions per photo, from 1 to the number of classes.
        batch_size: Photos per forward pass.

    Yields:
        The outcome of each photo, in order.
    """
    threads = ThreadPoolExecutor(_READERS)
    decoders = BoundedSemaphore(min(usable_cores(), _MAX_DECODERS))
    limiter = DecodeLimiter()
    budget = FileBudget(MAX_FILE_BYTES)

    def read(photo: Photo) -> Pixels | str:
        with budget.reservation() as reserve:
            return _read(classifier, photo, reserve, decoders, limiter)

    try:
        inputs_ahead = _read_ahead(threads, read, photos, _BATCHES_AHEAD * batch_size)
        while part := list(itertools.islice(inputs_ahead, batch_size)):
            inputs = [values for _, values in part if not isinstance(values, str)]
            outputs = iter(list(classifier.outputs(inputs)) if inputs else [])
            for photo, values in part:
                if isinstance(values, str):
                    yield Unreadable(photo, values)
                else:
                    logits, maps = next(outputs)
                    best = None if maps is None else maps[logits.argmax()]
                    yield Classified(photo, classifier.result(logits, top_k), best)
    finally:
        # Ctrl-C and a closed pipe end here too, and must not wait for queued photos.
        threads.shutdown(cancel_futures=True)


def _read_ahead(
    threads: ThreadPoolExecutor,
    read: Callable[[Photo], Pixels | str],
    photos: Iterable[Photo],
    most: int,
) -> Iterator[tuple[Photo, Pixels | str]]:
    """Yield each photo with its input or the reason of a failure, reading `most` ahead."""
    waiting: deque[tuple[Photo, Future[Pixels | str]]] = deque()
    for photo in photos:
        waiting.append((photo, threads.submit(read, photo)))
        if len(waiting) >= most:
            first, future = waiting.popleft()
            yield first, future.result()
    for photo, future in waiting:
        yield photo, future.result()


def _read(
    classifier: Classifier,
    photo: Photo,
    reserve: Reserve,
    decoders: BoundedSemaphore,
    limiter: DecodeLimiter,
) -> Pixels | str:
    """Return the network's input, uint8 (H, W, 3), or the reason of a failure."""
    try:
        data = photo.read(reserve)
        with decoders, ExitStack() as held:

            def acquire(pixels: int) -> AbstractContextManager[None]:
                # Until the image of full size is gone.
                held.enter_context(limiter.acquire(pixels, DEFAULT_LIMITS.max_pixels))
                return nullcontext()

            side = classifier.metadata.transform.resize
            image = decode_image(data, target_side=side, acquire=acquire)
            inputs = classifier.preprocess(image)
            del image
            return inputs
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"{error.strerror}."
