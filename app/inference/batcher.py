"""Photos from many request threads, run by the model in batches on one thread.

    request threads: admit() -> read, decode, transform -> infer(inputs, deadline) ┐
                                                                                   v
    one thread:              what has gathered -> run(N×3×H×W) -> an output to each waiting thread

An idle model runs at once on whatever is there; while it runs, the next batch gathers. A place is
taken before a photo is read and given back after its answer, so that one bound holds memory and
threads alike. A photo that nobody waits for any more is not run, and gives its place to others
where they need it. Nothing here knows of Flask or torch. The shape is mosec's: decode in many
threads, infer in one, refuse what does not fit.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar

import numpy as np

from model.backends.base import Array

_log: Final = logging.getLogger(__name__)


# Each who waits is asked whether he still does, which takes longer than to refuse one more.
_SWEEP_SECONDS: Final = 0.1


class BatchingError(Exception):
    """A photo that got no output."""


class TooManyInFlightError(BatchingError):
    """Every place is taken: come back in a moment."""


class BatcherClosedError(BatchingError):
    """The batcher takes no more photos: it is closing, or its model failed."""


class DeadlineExceededError(BatchingError):
    """The deadline passed before the model was done."""


class AbandonedError(BatchingError):
    """Nobody waits for the output any more."""


class BatchOutOfMemoryError(BatchingError):
    """There is not even memory for this photo alone; the others go on."""


class ModelFailedError(BatchingError):
    """The model raised an exception, after which nothing it says could be trusted."""


Output = TypeVar("Output")


@dataclass(frozen=True)
class Inference(Generic[Output]):
    """What the model said about one photo.

    Attributes:
        output: As `run` gave it.
        waited: Seconds from `infer` to the start of the batch.
        ran: Seconds that the batch took.
    """

    output: Output
    waited: float
    ran: float


Infer = Callable[[Array, float], Inference[Output]]


@dataclass(eq=False)
class _Slot:
    is_connected: Callable[[], bool]
    taken: bool = True


@dataclass(frozen=True, eq=False)
class _Entry(Generic[Output]):
    slot: _Slot
    inputs: Array
    deadline: float
    submitted: float
    future: Future[Inference[Output]] = field(default_factory=Future)


class Batcher(Generic[Output]):
    """A bounded queue before one model.

    Args:
        run: The model: float32 (N, 3, H, W) to N outputs, N from 1 to `max_batch`. Called on one
            thread only.
        max_batch: Most photos in a batch.
        max_in_flight: Number of places: photos being read, decoded, waiting or worked on.
        out_of_memory: The exceptions by which `run` says that the batch was too large.
        on_batch: Called after each batch, on the batcher's thread, with its number of photos.
        on_failure: Called once, on the batcher's thread, after any other exception of `run`.
        clock: Seconds that only ever rise; deadlines are moments of it.
    """

    def __init__(
        self,
        run: Callable[[Array], Iterable[Output]],
        *,
        max_batch_size: int,
        max_in_flight: int,
        out_of_memory: tuple[type[BaseException], ...] = (MemoryError,),
        on_batch: Callable[[int], None] = lambda photos: None,
        on_failure: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._max_in_flight = max_in_flight
        self._out_of_memory = out_of_memory
        self._on_batch = on_batch
        self._on_failure = on_failure
        self._clock = clock
        self._changed = threading.Condition()
        self._open = True
        self._in_flight = 0
        self._next_sweep = -math.inf
        self._waiting: deque[_Entry[Output]] = deque()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def accepting(self) -> bool:
        """Whether photos are taken: neither closing, nor closed, nor failed."""
        return self._open and self._thread.is_alive()

    @property
    def in_flight(self) -> int:
        """Number of photos being read, decoded, waiting or worked on."""
        return self._in_flight

    @contextmanager
    def acquire(self, is_connected: Callable[[], bool] = lambda: True) -> Iterator[Infer[Output]]:
        """Take a place, and give the function that runs the model on this place's photo.

        The function takes float32 (3, H, W) and a deadline, a moment of the clock, and raises
        `DeadlineExceededError`, `AbandonedError`, `BatchOutOfMemoryError`, `ModelFailedError` or
        `BatcherClosedError`.

        Args:
            is_connected: Whether the client still waits. Called here and on the batcher's
                thread before the photo runs; it must be quick and must not raise.

        Raises:
            TooManyInFlightError: Every place is taken.
            AbandonedError: There is a place, but the output is not wanted.
            BatcherClosedError: No more photos are taken.
        """
        slot = _Slot(is_connected)
        with self._changed:
            if not self.accepting:
                raise BatcherClosedError
            if self._in_flight >= self._max_in_flight and self._clock() >= self._next_sweep:
                self._drop_abandoned()
            if self._in_flight >= self._max_in_flight:
                raise TooManyInFlightError
            self._in_flight += 1
        try:
            # Not before there is a place, nor under the lock: it gives up Python's.
            if not is_connected():
                raise AbandonedError
            yield partial(self._infer, slot)
        finally:
            with self._changed:
                self._give_back(slot)

    def close(self) -> None:
        """Take no more photos, answer those that wait, and end the thread."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()

    def _give_back(self, slot: _Slot) -> None:
        if slot.taken:
            slot.taken = False
            self._in_flight -= 1

    def _drop_abandoned(self) -> None:
        """Free the places of all who wait for the model in vain, not only of those next in turn."""
        self._next_sweep = self._clock() + _SWEEP_SECONDS
        for entry in [entry for entry in self._waiting if not entry.slot.is_connected()]:
            self._waiting.remove(entry)
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(AbandonedError())
            self._give_back(entry.slot)

    def _infer(self, slot: _Slot, inputs: Array, deadline: float) -> Inference[Output]:
        entry = _Entry[Output](slot, inputs, deadline, self._clock())
        with self._changed:
            if not self.accepting:
                raise BatcherClosedError
            self._waiting.append(entry)
            self._changed.notify()
        try:
            return entry.future.result(timeout=max(0.0, deadline - self._clock()))
        except TimeoutError:
            # A cancelled entry is dropped before it runs. It must not go on waiting either: its
            # place is free now, and the queue would outgrow its bound.
            entry.future.cancel()
            with self._changed:
                if entry in self._waiting:
                    self._waiting.remove(entry)
            raise DeadlineExceededError from None

    def _work(self) -> None:
        batch: list[_Entry[Output]] = []
        try:
            while batch := self._next_batch():
                self._run_batch(batch)
        except BaseException as error:
            self._fail(batch, error)

    def _next_batch(self) -> list[_Entry[Output]]:
        """Wait for photos; return an empty list when there will be no more."""
        with self._changed:
            while True:
                batch = self._gathered()
                if batch or not self._open:
                    return batch
                self._changed.wait()

    def _gathered(self) -> list[_Entry[Output]]:
        batch: list[_Entry[Output]] = []
        while self._waiting and len(batch) < self._max_batch_size:
            entry = self._waiting.popleft()
            if not entry.future.set_running_or_notify_cancel():
                continue
            if self._clock() >= entry.deadline:
                entry.future.set_exception(DeadlineExceededError())
            elif not entry.slot.is_connected():
                entry.future.set_exception(AbandonedError())
            else:
                batch.append(entry)
        return batch

    def _run_batch(self, batch: list[_Entry[Output]]) -> None:
        while batch:
            part, rest = batch[: self._max_batch_size], batch[self._max_batch_size :]
            if self._fits_in_memory(part):
                batch = rest
            elif len(part) == 1:
                _log.error("out of memory with a single photo")
                part[0].future.set_exception(BatchOutOfMemoryError())
                batch = rest
            else:
                # For good: what did not fit once would cost its attempt every time.
                self._max_batch_size = len(part) // 2
                _log.warning("out of memory: batches hold %d photos from now", self._max_batch_size)

    def _fits_in_memory(self, part: list[_Entry[Output]]) -> bool:
        started = self._clock()
        try:
            outputs = self._run(np.stack([entry.inputs for entry in part]))
        except self._out_of_memory:
            # Tried again by the caller, after this block has let go of the exception, whose
            # traceback holds on to the memory.
            return False
        ran = self._clock() - started
        self._on_batch(len(part))
        for entry, output in zip(part, outputs, strict=True):
            entry.future.set_result(Inference(output, started - entry.submitted, ran))
        return True

    def _fail(self, batch: list[_Entry[Output]], error: BaseException) -> None:
        with self._changed:
            self._open = False
            waiting = [
                entry for entry in self._waiting if entry.future.set_running_or_notify_cancel()
            ]
        for entry in (*batch, *waiting):
            if not entry.future.done():
                entry.future.set_exception(ModelFailedError())
        _log.critical("the model failed; this process ends and must be replaced", exc_info=error)
        self._on_failure()
