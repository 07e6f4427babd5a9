"""Dynamic batching: many request threads submit photos, one thread runs the model.

An idle model runs immediately on the photos that are queued; the next batch fills while it runs.
A request acquires a slot before its body is read, one more for each further photo in it, and
releases them at its end, so one limit bounds both memory and threads. Photos of disconnected
clients are dropped. The design follows mosec; the module depends on neither Flask nor PyTorch.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar

from app.inference.batch_size import BatchSizeLimit
from app.inference.errors import (
    AbandonedError,
    BatcherClosedError,
    BatchingError,
    BatchOutOfMemoryError,
    DeadlineExceededError,
    ModelFailedError,
    ModelStalledError,
    TooManyInFlightError,
)
from app.inference.watchdog import Watchdog
from model.backends.base import Pixels

_log: Final = logging.getLogger(__name__)

# Polling every queued connection costs more than refusing one request.
_SWEEP_SECONDS: Final = 0.1


Output = TypeVar("Output")


@dataclass(frozen=True)
class Inference(Generic[Output]):
    """Output of the model for one photo.

    Attributes:
        output: One item of the return value of `run`.
        waited: Seconds from the submission to the start of the batch.
        ran: Seconds from the start of the batch to the output.
    """

    output: Output
    waited: float
    ran: float


@dataclass(frozen=True)
class Slots(Generic[Output]):
    """The slots of one request.

    Attributes:
        add: Acquire further slots, a number of 0 or more. Raises `TooManyInFlightError` or
            `BatcherClosedError`.
        infer: Run the model on one or more photos, uint8 (H, W, 3) each, until a deadline (a time
            of the clock). The photos are queued together, so that one batch can hold all of them.
            Raises `DeadlineExceededError`, `AbandonedError`, `BatchOutOfMemoryError`,
            `ModelFailedError` or `BatcherClosedError`.
    """

    add: Callable[[int], None]
    infer: Callable[[Sequence[Pixels], float], list[Inference[Output]]]


@dataclass(eq=False)
class _Holder:
    """A request and the number of its slots."""

    is_connected: Callable[[], bool]
    slots: int = 0


def _acquired_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class _Submission:
    """Photos of one request, submitted together.

    Attributes:
        holder: The request.
        deadline: When the request stops waiting.
        submitted: When the photos were submitted.
        unfinished: Number of photos without an output.
        error: The first failure of a photo, or of the request; queued photos are not run then.
        done: Released once all photos have an output, or one has failed. A future per photo would
            be a condition with two more locks each.
    """

    holder: _Holder
    deadline: float
    submitted: float
    unfinished: int
    error: type[BatchingError] | None = None
    done: threading.Lock = field(default_factory=_acquired_lock)

    def finish_photo(self) -> None:
        """Count an output; the caller holds the batcher's lock."""
        self.unfinished -= 1
        if not self.unfinished and self.error is None:
            self.done.release()

    def fail(self, error: type[BatchingError]) -> None:
        """Fail the request unless it is done; the caller holds the batcher's lock."""
        if self.unfinished and self.error is None:
            self.error = error
            self.done.release()


@dataclass(eq=False)
class _Entry(Generic[Output]):
    submission: _Submission
    inputs: Pixels
    inference: Inference[Output] | None = None


class Batcher(Generic[Output]):
    """A bounded queue in front of one model.

    Args:
        run: The model: N photos, uint8 (H, W, 3) each, to N outputs in order, N from 1 to
            `max_batch_size`. Called on one thread only. A photo is done as soon as its output is
            there, which may be before those of the others.
        max_batch_size: Maximum photos in a batch.
        max_in_flight: Number of slots: photos being read, decoded, queued or run.
        max_batch_seconds: Maximum duration of a batch. A longer one is a failure of the model.
        out_of_memory: Exceptions that `run` raises if the batch is too large.
        on_batch: Called before the last output of each batch, on the batcher's thread, with its
            number of photos.
        on_failure: Called once if the model fails: after any other exception from `run`, or while
            a batch exceeds its maximum duration.
        clock: Monotonic time in seconds; deadlines refer to it.
    """

    def __init__(
        self,
        run: Callable[[list[Pixels]], Iterable[Output]],
        *,
        max_batch_size: int,
        max_in_flight: int,
        max_batch_seconds: float = math.inf,
        out_of_memory: tuple[type[BaseException], ...] = (MemoryError,),
        on_batch: Callable[[int], None] = lambda photos: None,
        on_failure: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._batch_size = BatchSizeLimit(max_batch_size, clock)
        self._max_in_flight = max_in_flight
        self._out_of_memory = out_of_memory
        self._on_batch = on_batch
        self._on_failure = on_failure
        self._clock = clock
        # Never held while a connection is checked: that releases the GIL, and every request would
        # wait until this thread has it back.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._open = True
        self._in_flight = 0
        self._next_sweep = -math.inf
        self._waiting: deque[_Entry[Output]] = deque()
        self._running: Sequence[_Entry[Output]] = ()
        self._failure: type[ModelFailedError] | None = None
        # Set once the thread has ended or hangs.
        self._finished = threading.Event()
        self._watchdog = Watchdog(max_batch_seconds, self._stall, clock)
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def accepting(self) -> bool:
        """True unless the batcher is closing, closed or failed."""
        return self._open and self._thread.is_alive()

    @property
    def stalled(self) -> bool:
        """True if a batch exceeded its maximum duration."""
        return self._failure is ModelStalledError

    @property
    def in_flight(self) -> int:
        """Number of photos being read, decoded, queued or run."""
        return self._in_flight

    @property
    def queued(self) -> int:
        """Number of photos waiting for the model."""
        return len(self._waiting)

    @contextmanager
    def acquire(self, is_connected: Callable[[], bool] = lambda: True) -> Iterator[Slots[Output]]:
        """Acquire a slot for the first photo of a request, until the block ends.

        Args:
            is_connected: Return True while the client is connected. Called here and on the model
                thread before a photo runs; it must be quick and must not raise.

        Raises:
            TooManyInFlightError: All slots are in use.
            AbandonedError: The client disconnected.
            BatcherClosedError: The batcher is closing or its model failed.
        """
        holder = _Holder(is_connected)
        self._add(holder, 1)
        try:
            # After acquiring the slot and outside the lock: the call releases the GIL.
            if not is_connected():
                raise AbandonedError
            yield Slots(partial(self._add, holder), partial(self._infer, holder))
        finally:
            with self._lock:
                self._release(holder, holder.slots)

    def refuse(self) -> None:
        """Refuse new photos; run those that are queued."""
        with self._lock:
            self._open = False
            self._changed.notify()

    def close(self) -> None:
        """Refuse new photos, run the queued ones, and end the thread unless the model hangs."""
        self.refuse()
        self._finished.wait()
        self._watchdog.stop()

    def _add(self, holder: _Holder, slots: int) -> None:
        if not self._has_added(holder, slots):
            self._drop_abandoned()
            if not self._has_added(holder, slots):
                raise TooManyInFlightError

    def _has_added(self, holder: _Holder, slots: int) -> bool:
        """Acquire slots; return False if too few are free."""
        with self._lock:
            if not self.accepting:
                raise BatcherClosedError
            if self._in_flight > self._max_in_flight - slots:
                return False
            self._in_flight += slots
            holder.slots += slots
            return True

    def _release(self, holder: _Holder, slots: int) -> None:
        holder.slots -= slots
        self._in_flight -= slots

    def _drop_abandoned(self) -> None:
        """Release the slots of all queued photos whose client disconnected."""
        with self._lock:
            if self._clock() < self._next_sweep:
                return
            self._next_sweep = self._clock() + _SWEEP_SECONDS
            queued = list(self._waiting)
        abandoned = [one for one in queued if not one.submission.holder.is_connected()]
        with self._lock:
            for entry in abandoned:
                # The model may have taken it meanwhile.
                if entry in self._waiting:
                    self._waiting.remove(entry)
                    entry.submission.fail(AbandonedError)
                    self._release(entry.submission.holder, 1)

    def _infer(
        self, holder: _Holder, inputs: Sequence[Pixels], deadline: float
    ) -> list[Inference[Output]]:
        submission = _Submission(holder, deadline, self._clock(), len(inputs))
        entries = [_Entry[Output](submission, photo) for photo in inputs]
        with self._lock:
            if not self.accepting:
                raise BatcherClosedError
            self._waiting.extend(entries)
            self._changed.notify()
        try:
            submission.done.acquire(timeout=max(0.0, deadline - self._clock()))
        finally:
            self._withdraw(submission)
        if submission.error is not None:
            raise submission.error
        return [entry.inference for entry in entries if entry.inference is not None]

    def _withdraw(self, submission: _Submission) -> None:
        """Remove photos without an output from the queue, whose slots the caller releases."""
        if submission.unfinished:
            with self._lock:
                submission.fail(DeadlineExceededError)
                for entry in [item for item in self._waiting if item.submission is submission]:
                    self._waiting.remove(entry)

    def _work(self) -> None:
        try:
            while batch := self._next_batch():
                self._run_batch(batch)
        except BaseException as error:
            self._fail(ModelFailedError, error)
        finally:
            self._finished.set()

    def _next_batch(self) -> list[_Entry[Output]]:
        """Wait for photos; return an empty list once the batcher is closed."""
        while True:
            with self._lock:
                while self._open and not self._waiting:
                    self._changed.wait()
                if not self._waiting:
                    return []
                self._running = taken = self._take_queued()
            if batch := self._still_wanted(taken):
                return batch

    def _take_queued(self) -> list[_Entry[Output]]:
        """Remove up to a batch of photos from the queue; the caller holds the lock."""
        taken: list[_Entry[Output]] = []
        most = self._batch_size.current()
        while self._waiting and len(taken) < most:
            entry = self._waiting.popleft()
            if entry.submission.error is None:
                taken.append(entry)
        return taken

    def _still_wanted(self, taken: list[_Entry[Output]]) -> list[_Entry[Output]]:
        """Return the photos whose clients still wait, and fail the others."""
        batch: list[_Entry[Output]] = []
        for entry in taken:
            error: type[BatchingError] | None = None
            if self._clock() >= entry.submission.deadline:
                error = DeadlineExceededError
            elif not entry.submission.holder.is_connected():
                error = AbandonedError
            if error is None:
                batch.append(entry)
            else:
                with self._lock:
                    entry.submission.fail(error)
        return batch

    def _run_batch(self, batch: list[_Entry[Output]]) -> None:
        self._running = batch
        while batch:
            part = batch[: self._batch_size.current()]
            if self._fits_in_memory(part):
                self._batch_size.note_success(len(part))
                batch = batch[len(part) :]
            elif len(part) == 1:
                _log.error("out of memory with a single photo")
                with self._lock:
                    part[0].submission.fail(BatchOutOfMemoryError)
                batch = batch[1:]
            else:
                self._batch_size.note_out_of_memory(len(part))
                batch = [entry for entry in batch if entry.inference is None]
        self._running = ()

    def _fits_in_memory(self, part: list[_Entry[Output]]) -> bool:
        started = self._clock()
        try:
            with self._watchdog.watch():
                outputs = self._run([entry.inputs for entry in part])
                for entry, output in zip(part, outputs, strict=True):
                    if entry is part[-1]:
                        self._on_batch(len(part))
                    waited, ran = started - entry.submission.submitted, self._clock() - started
                    entry.inference = Inference(output, waited, ran)
                    with self._lock:
                        entry.submission.finish_photo()
        except self._out_of_memory:
            # The caller retries outside this block: the traceback keeps the memory alive.
            return False
        return True

    def _stall(self) -> None:
        self._fail(ModelStalledError, None)
        self._finished.set()

    def _fail(self, failure: type[ModelFailedError], error: BaseException | None) -> None:
        """Fail all photos, once; `error` is for the log."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure = failure
            self._open = False
            for entry in (*self._running, *self._waiting):
                entry.submission.fail(failure)
            self._waiting.clear()
        _log.critical(
            "%s; the process exits and must be restarted",
            "a batch exceeds its maximum duration" if error is None else "the model failed",
            exc_info=error,
        )
        self._on_failure()
