"""Batching of photos from many threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from app.inference.batcher import Batcher, Inference
from app.inference.errors import (
    AbandonedError,
    BatcherClosedError,
    BatchOutOfMemoryError,
    DeadlineExceededError,
    ModelFailedError,
    ModelStalledError,
    TooManyInFlightError,
)
from model.backends.base import Array, Pixels
from model.imaging.formats import CorruptImageError
from tests.serving import TIMEOUT_SECONDS, until

NO_DEADLINE = 1e9


def photo(value: float) -> Pixels:
    """Return an input whose pixels are the bytes of the value."""
    return np.repeat(np.array([[value]], np.float32).view(np.uint8)[..., None], 3, axis=2)


def values_of(batch: Sequence[Pixels]) -> Array:
    """Return the values of photos, float32 (N, 1)."""
    return np.stack([photo[0, :, 0] for photo in batch]).view(np.float32)


def output_of(inference: Inference[Array]) -> float:
    return float(inference.output[0])


class Model:
    """A model that returns the value of each photo, and blocks while `release` is cleared."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.release = threading.Event()
        self.release.set()
        self.fail: Callable[[Sequence[Pixels]], None] = lambda batch: None

    def __call__(self, batch: Sequence[Pixels]) -> Array:
        self.batches.append(values_of(batch)[:, 0].tolist())
        assert self.release.wait(TIMEOUT_SECONDS)
        self.fail(batch)
        return values_of(batch)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Harness:
    """A batcher with a fake model and clock, and threads that send photos."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.model = Model()
        self.clock = Clock()
        self.ended = threading.Event()
        self._threads = threads
        self.make()

    def make(
        self,
        *,
        max_batch_size: int = 8,
        max_in_flight: int = 32,
        max_batch_seconds: float = NO_DEADLINE,
    ) -> None:
        self.batcher = Batcher(
            self.model,
            max_batch_size=max_batch_size,
            max_in_flight=max_in_flight,
            max_batch_seconds=max_batch_seconds,
            on_failure=self.ended.set,
            clock=self.clock,
        )

    def infer(
        self,
        value: float,
        deadline: float = NO_DEADLINE,
        is_connected: Callable[[], bool] = lambda: True,
    ) -> Inference[Array]:
        with self.batcher.acquire(is_connected) as slots:
            return slots.infer([photo(value)], deadline)[0]

    def infer_together(self, *values: float, deadline: float = NO_DEADLINE) -> list[float]:
        """Infer several photos of one request."""
        with self.batcher.acquire() as slots:
            slots.add(len(values) - 1)
            return [
                output_of(one) for one in slots.infer([photo(value) for value in values], deadline)
            ]

    def send(
        self,
        *values: float,
        deadline: float = NO_DEADLINE,
        is_connected: Callable[[], bool] = lambda: True,
    ) -> list[Future[Inference[Array]]]:
        """Send each photo from its own thread, and return when all are queued."""
        queued = self.batcher.queued
        futures = [
            self._threads.submit(self.infer, value, deadline, is_connected) for value in values
        ]
        until(lambda: self.batcher.queued == queued + len(values))
        return futures

    def block_model(self) -> Future[Inference[Array]]:
        """Block the model in a batch of photo 0, so that later photos are queued."""
        self.model.release.clear()
        batches = len(self.model.batches)
        future = self._threads.submit(self.infer, 0.0)
        until(lambda: len(self.model.batches) > batches)
        return future


@pytest.fixture
def harness() -> Iterator[Harness]:
    with ThreadPoolExecutor(64) as threads:
        harness = Harness(threads)
        yield harness
        harness.model.release.set()
        harness.batcher.close()


def test_a_photo_gets_its_own_output(harness: Harness) -> None:
    assert output_of(harness.infer(7.0)) == 7.0


def test_an_idle_model_runs_immediately(harness: Harness) -> None:
    for value in (1.0, 2.0):
        harness.infer(value)
    assert harness.model.batches == [[1.0], [2.0]]


def test_queued_photos_form_one_batch_in_order(harness: Harness) -> None:
    first = harness.block_model()
    others = [future for value in (1.0, 2.0, 3.0) for future in harness.send(value)]
    harness.model.release.set()
    assert [output_of(future.result(TIMEOUT_SECONDS)) for future in (first, *others)] == [
        0,
        1,
        2,
        3,
    ]
    assert harness.model.batches == [[0.0], [1.0, 2.0, 3.0]]


def test_a_photo_is_done_before_the_others_of_its_batch(harness: Harness) -> None:
    gates = {0.0: threading.Event(), 2.0: threading.Event()}

    def run(batch: Sequence[Pixels]) -> Iterator[Array]:
        for value in values_of(batch):
            if gate := gates.get(float(value[0])):
                assert gate.wait(TIMEOUT_SECONDS)
            yield value

    harness.batcher.close()
    harness.batcher = Batcher(run, max_batch_size=8, max_in_flight=8)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(harness.infer, 0.0)
        until(lambda: (harness.batcher.in_flight, harness.batcher.queued) == (1, 0))
        one, two = [harness.send(value)[0] for value in (1.0, 2.0)]
        gates[0.0].set()
        assert [output_of(each.result(TIMEOUT_SECONDS)) for each in (first, one)] == [0.0, 1.0]
        assert not two.done()
        gates[2.0].set()
        assert output_of(two.result(TIMEOUT_SECONDS)) == 2.0


def test_a_batch_is_no_larger_than_allowed(harness: Harness) -> None:
    harness.batcher.close()
    harness.make(max_batch_size=2)
    first = harness.block_model()
    others = harness.send(1.0, 2.0, 3.0, 4.0, 5.0)
    harness.model.release.set()
    assert [output_of(future.result(TIMEOUT_SECONDS)) for future in (first, *others)] == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]
    assert [len(batch) for batch in harness.model.batches] == [1, 2, 2, 1]


def test_the_waiting_time_and_the_batch_duration_are_measured(harness: Harness) -> None:
    first = harness.block_model()
    harness.clock.now = 2.0
    (second,) = harness.send(1.0)
    harness.clock.now = 5.0
    harness.model.release.set()
    assert (first.result(TIMEOUT_SECONDS).waited, first.result(TIMEOUT_SECONDS).ran) == (0.0, 5.0)
    assert (second.result(TIMEOUT_SECONDS).waited, second.result(TIMEOUT_SECONDS).ran) == (3.0, 0.0)


def test_slots_are_bounded_before_a_photo_is_submitted(harness: Harness) -> None:
    harness.batcher.close()
    harness.make(max_in_flight=2)
    with ExitStack() as slots:
        for _ in range(2):
            slots.enter_context(harness.batcher.acquire())
        with pytest.raises(TooManyInFlightError):
            harness.infer(1.0)
    assert output_of(harness.infer(1.0)) == 1.0


def test_photos_of_one_request_share_a_batch(harness: Harness) -> None:
    assert harness.infer_together(1.0, 2.0, 3.0) == [1, 2, 3]
    assert harness.model.batches == [[1.0, 2.0, 3.0]]


def test_each_photo_of_a_request_takes_a_slot(harness: Harness) -> None:
    harness.batcher.close()
    harness.make(max_in_flight=4)
    with harness.batcher.acquire() as slots:
        slots.add(2)
        assert harness.batcher.in_flight == 3
        with pytest.raises(TooManyInFlightError):
            harness.infer_together(1.0, 2.0)
        assert harness.batcher.in_flight == 3
        assert output_of(harness.infer(1.0)) == 1.0
    assert harness.batcher.in_flight == 0
    assert harness.infer_together(1.0, 2.0, 3.0, 4.0) == [1, 2, 3, 4]


def test_a_request_past_its_deadline_leaves_no_photo_in_the_queue(harness: Harness) -> None:
    first = harness.block_model()
    with pytest.raises(DeadlineExceededError):
        harness.infer_together(1.0, 2.0, 3.0, deadline=harness.clock.now)
    assert (harness.batcher.queued, harness.batcher.in_flight) == (0, 1)
    harness.model.release.set()
    assert output_of(first.result(TIMEOUT_SECONDS)) == 0.0
    assert harness.model.batches == [[0.0]]


def test_a_photo_out_of_memory_fails_its_request(harness: Harness) -> None:
    def fail(batch: Sequence[Pixels]) -> None:
        if 2.0 in values_of(batch):
            raise MemoryError

    harness.model.fail = fail
    with pytest.raises(BatchOutOfMemoryError):
        harness.infer_together(1.0, 2.0, 3.0)
    assert harness.batcher.in_flight == 0
    assert harness.infer_together(4.0, 5.0) == [4, 5]


def test_queued_photos_of_a_failed_request_are_not_run(harness: Harness) -> None:
    def fail(batch: Sequence[Pixels]) -> None:
        if 1.0 in values_of(batch):
            raise MemoryError

    harness.batcher.close()
    harness.make(max_batch_size=1)
    harness.model.fail = fail
    with pytest.raises(BatchOutOfMemoryError):
        harness.infer_together(1.0, 2.0, 3.0)
    assert output_of(harness.infer(4.0)) == 4.0
    assert harness.model.batches == [[1.0], [4.0]]


def test_a_disconnected_client_frees_the_slots_of_all_its_queued_photos(harness: Harness) -> None:
    harness.batcher.close()
    harness.make(max_in_flight=4)
    connection = threading.Event()
    connection.set()
    first = harness.block_model()

    def send_three() -> None:
        with harness.batcher.acquire(connection.is_set) as slots:
            slots.add(2)
            slots.infer([photo(value) for value in (1.0, 2.0, 3.0)], NO_DEADLINE)

    with ThreadPoolExecutor(1) as thread:
        disconnected = thread.submit(send_three)
        until(lambda: harness.batcher.queued == 3)
        connection.clear()
        harness.clock.now += 1
        with harness.batcher.acquire() as slots:
            slots.add(2)
            with pytest.raises(AbandonedError):
                disconnected.result(TIMEOUT_SECONDS)
            # The thread must not release the slots a second time.
            assert harness.batcher.in_flight == 4
    harness.model.release.set()
    assert output_of(first.result(TIMEOUT_SECONDS)) == 0.0
    assert harness.batcher.in_flight == 0


def test_a_bad_photo_releases_its_slot(harness: Harness) -> None:
    harness.batcher.close()
    harness.make(max_in_flight=1)
    for _ in range(3):
        with pytest.raises(CorruptImageError), harness.batcher.acquire():
            raise CorruptImageError("damaged")
    assert output_of(harness.infer(1.0)) == 1.0


def test_a_queued_photo_past_its_deadline_is_not_run(harness: Harness) -> None:
    first = harness.block_model()
    (late,) = harness.send(1.0, deadline=10.0)
    (early,) = harness.send(2.0, deadline=12.0)
    harness.clock.now = 11.0
    harness.model.release.set()
    assert output_of(first.result(TIMEOUT_SECONDS)) == 0.0
    assert output_of(early.result(TIMEOUT_SECONDS)) == 2.0
    with pytest.raises(DeadlineExceededError):
        late.result(TIMEOUT_SECONDS)
    assert harness.model.batches == [[0.0], [2.0]]


def test_a_busy_model_does_not_delay_the_deadline(harness: Harness) -> None:
    first = harness.block_model()
    with pytest.raises(DeadlineExceededError):
        harness.infer(1.0, deadline=harness.clock.now)
    assert harness.batcher.queued == 0
    harness.model.release.set()
    assert output_of(first.result(TIMEOUT_SECONDS)) == 0.0
    assert output_of(harness.infer(2.0)) == 2.0
    assert harness.model.batches == [[0.0], [2.0]]


def test_an_output_after_the_deadline_is_discarded(harness: Harness) -> None:
    harness.model.release.clear()
    with pytest.raises(DeadlineExceededError):
        harness.infer(1.0, deadline=0.1)
    harness.model.release.set()
    assert output_of(harness.infer(2.0)) == 2.0
    assert harness.model.batches == [[1.0], [2.0]]


def test_a_queued_photo_of_a_disconnected_client_is_not_run(harness: Harness) -> None:
    connection = threading.Event()
    connection.set()
    first = harness.block_model()
    (disconnected,) = harness.send(1.0, is_connected=connection.is_set)
    (connected,) = harness.send(2.0)
    connection.clear()
    harness.model.release.set()
    assert output_of(first.result(TIMEOUT_SECONDS)) == 0.0
    assert output_of(connected.result(TIMEOUT_SECONDS)) == 2.0
    with pytest.raises(AbandonedError):
        disconnected.result(TIMEOUT_SECONDS)
    assert harness.model.batches == [[0.0], [2.0]]


def test_a_slow_connection_check_delays_no_other_request(harness: Harness) -> None:
    checked, may_end = threading.Event(), threading.Event()
    first = [True]

    def is_connected() -> bool:
        if first:  # in `acquire`, before the model's thread checks it
            first.clear()
            return True
        checked.set()
        return may_end.wait(TIMEOUT_SECONDS)

    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(harness.infer, 1.0, NO_DEADLINE, is_connected)
        assert checked.wait(TIMEOUT_SECONDS)
        other = threads.submit(harness.infer, 2.0)
        until(lambda: harness.batcher.queued == 1)
        may_end.set()
        assert output_of(slow.result(TIMEOUT_SECONDS)) == 1
        assert output_of(other.result(TIMEOUT_SECONDS)) == 2


def test_a_slow_connection_check_at_a_refusal_delays_no_other_request(harness: Harness) -> None:
    harness.batcher.close()
    harness.make(max_in_flight=2)
    checked, may_end = threading.Event(), threading.Event()
    checks = iter([True])

    def is_connected() -> bool:
        if next(checks, False):
            return True
        checked.set()
        may_end.wait(TIMEOUT_SECONDS)
        return False

    running = harness.block_model()
    (queued,) = harness.send(1.0, is_connected=is_connected)
    with ThreadPoolExecutor(1) as threads:
        refused = threads.submit(harness.infer, 2.0)
        assert checked.wait(TIMEOUT_SECONDS)
        harness.model.release.set()
        assert output_of(running.result(TIMEOUT_SECONDS)) == 0
        may_end.set()
        assert output_of(refused.result(TIMEOUT_SECONDS)) == 2
    assert isinstance(queued.exception(TIMEOUT_SECONDS), AbandonedError)


def test_a_disconnected_client_gets_no_slot(harness: Harness) -> None:
    with pytest.raises(AbandonedError):
        harness.infer(1.0, is_connected=lambda: False)
    assert harness.batcher.in_flight == 0
    assert harness.model.batches == []


def test_disconnected_clients_free_their_slots_while_the_model_runs(harness: Harness) -> None:
    harness.batcher.close()
    harness.make(max_in_flight=4)
    connection = threading.Event()
    connection.set()
    first = harness.block_model()
    (connected,) = harness.send(1.0)
    disconnected = harness.send(2.0, 3.0, is_connected=connection.is_set)
    with pytest.raises(TooManyInFlightError):
        harness.infer(4.0)
    connection.clear()
    harness.clock.now += 1
    with ExitStack() as slots:
        for _ in range(2):
            slots.enter_context(harness.batcher.acquire())
        with pytest.raises(TooManyInFlightError):
            harness.infer(4.0)
        for future in disconnected:
            with pytest.raises(AbandonedError):
                future.result(TIMEOUT_SECONDS)
        # Their threads must not release the slots a second time.
        assert harness.batcher.in_flight == 4
    harness.model.release.set()
    assert [output_of(future.result(TIMEOUT_SECONDS)) for future in (first, connected)] == [
        0.0,
        1.0,
    ]
    assert harness.batcher.in_flight == 0
    assert harness.model.batches == [[0.0], [1.0]]


def test_refusals_poll_queued_connections_at_a_limited_rate(harness: Harness) -> None:
    harness.batcher.close()
    harness.make(max_in_flight=2)
    polled: list[float] = []

    def is_connected() -> bool:
        polled.append(harness.clock.now)
        return True

    first = harness.block_model()
    (waiting,) = harness.send(1.0, is_connected=is_connected)
    polled.clear()
    for now in (0.0, 0.01, 0.02, 1.0, 1.01):
        harness.clock.now = now
        with pytest.raises(TooManyInFlightError):
            harness.infer(2.0)
    assert polled == [0.0, 1.0]
    harness.model.release.set()
    assert [output_of(future.result(TIMEOUT_SECONDS)) for future in (first, waiting)] == [0.0, 1.0]


def test_out_of_memory_halves_the_batch(harness: Harness) -> None:
    def fail(batch: Sequence[Pixels]) -> None:
        if len(batch) > 2:
            raise MemoryError

    harness.model.fail = fail
    first = harness.block_model()
    others = harness.send(*(float(value) for value in range(1, 9)))
    harness.model.release.set()
    outputs = [output_of(future.result(TIMEOUT_SECONDS)) for future in (first, *others)]
    assert outputs == list(range(9))
    assert [len(batch) for batch in harness.model.batches] == [1, 8, 4, 2, 2, 2, 2]
    assert harness.batcher.accepting


def test_a_batch_size_that_ran_out_of_memory_is_not_used_again_at_once(harness: Harness) -> None:
    def fail(batch: Sequence[Pixels]) -> None:
        if len(batch) > 3:
            raise MemoryError

    harness.model.fail = fail
    for _ in range(2):
        first = harness.block_model()
        others = harness.send(1.0, 2.0, 3.0, 4.0)
        harness.model.release.set()
        for future in (first, *others):
            future.result(TIMEOUT_SECONDS)
    assert [len(batch) for batch in harness.model.batches] == [1, 4, 2, 2, 1, 2, 2]


def test_the_batch_size_grows_again_after_a_transient_lack_of_memory(harness: Harness) -> None:
    def fail(batch: Sequence[Pixels]) -> None:
        if len(batch) > 1 and harness.clock.now < 1:
            raise MemoryError

    harness.model.fail = fail
    for now in (0, 3600):
        harness.clock.now = now
        first = harness.block_model()
        others = harness.send(1.0, 2.0)
        harness.model.release.set()
        for future in (first, *others):
            future.result(TIMEOUT_SECONDS)
    assert [len(batch) for batch in harness.model.batches] == [1, 2, 1, 1, 1, 2]


def test_photos_that_are_done_do_not_run_again_after_a_lack_of_memory(harness: Harness) -> None:
    batches = []

    def run(batch: Sequence[Pixels]) -> Iterator[Array]:
        values = values_of(batch)
        batches.append(values[:, 0].tolist())
        assert harness.model.release.wait(TIMEOUT_SECONDS)
        for number, value in enumerate(values):
            if len(values) > 2 and number == 1:
                raise MemoryError
            yield value

    harness.batcher.close()
    harness.batcher = Batcher(run, max_batch_size=8, max_in_flight=8)
    harness.model.release.clear()
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(harness.infer, 0.0)
        until(lambda: bool(batches))
        queued = [harness.send(value)[0] for value in (1.0, 2.0, 3.0, 4.0)]
        harness.model.release.set()
        outputs = [output_of(each.result(TIMEOUT_SECONDS)) for each in (first, *queued)]
    assert outputs == [0, 1, 2, 3, 4]
    assert batches == [[0], [1, 2, 3, 4], [2, 3], [4]]


def test_a_photo_that_runs_out_of_memory_alone_fails_alone(harness: Harness) -> None:
    def fail(batch: Sequence[Pixels]) -> None:
        if 2.0 in values_of(batch):
            raise MemoryError

    harness.model.fail = fail
    first = harness.block_model()
    one, two, three = harness.send(1.0, 2.0, 3.0)
    harness.model.release.set()
    assert [output_of(future.result(TIMEOUT_SECONDS)) for future in (first, one, three)] == [
        0,
        1,
        3,
    ]
    with pytest.raises(BatchOutOfMemoryError):
        two.result(TIMEOUT_SECONDS)
    assert not harness.ended.is_set()
    assert output_of(harness.infer(4.0)) == 4.0


def test_any_other_exception_fails_all_photos_and_ends_the_service(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(batch: Sequence[Pixels]) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    first = harness.block_model()
    others = harness.send(1.0, 2.0)
    harness.model.fail = fail
    with caplog.at_level(logging.CRITICAL):
        harness.model.release.set()
        for future in (first, *others):
            with pytest.raises(ModelFailedError):
                future.result(TIMEOUT_SECONDS)
        assert harness.ended.wait(TIMEOUT_SECONDS)
    assert len(harness.model.batches) == 1
    assert not harness.batcher.accepting
    with pytest.raises(BatcherClosedError):
        harness.infer(3.0)
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.exc_info is not None
    assert "illegal memory access" in str(record.exc_info[1])


def test_a_batch_that_takes_too_long_fails_all_photos_and_ends_the_service(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.batcher.close()
    harness.make(max_batch_seconds=0.2)
    first = harness.block_model()
    (queued,) = harness.send(1.0)
    assert not harness.batcher.stalled
    with caplog.at_level(logging.CRITICAL):
        harness.clock.now = 0.3
        for future in (first, queued):
            with pytest.raises(ModelStalledError):
                future.result(TIMEOUT_SECONDS)
        assert harness.ended.wait(TIMEOUT_SECONDS)
    assert harness.batcher.stalled
    with pytest.raises(BatcherClosedError):
        harness.infer(2.0)
    harness.batcher.close()  # the model still hangs
    harness.model.release.set()
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]


def test_a_batch_within_its_maximum_duration_is_no_failure(harness: Harness) -> None:
    harness.batcher.close()
    harness.make(max_batch_seconds=0.2)
    first = harness.block_model()
    harness.clock.now = 0.19
    assert not harness.ended.wait(0.2)
    harness.model.release.set()
    assert output_of(first.result(TIMEOUT_SECONDS)) == 0.0
    harness.clock.now = 10.0
    assert not harness.ended.wait(0.2)
    assert output_of(harness.infer(1.0)) == 1.0


def test_too_few_outputs_are_a_model_failure(harness: Harness) -> None:
    harness.batcher.close()
    harness.batcher = Batcher(
        lambda batch: harness.model(batch)[:0],
        max_batch_size=8,
        max_in_flight=8,
        on_failure=harness.ended.set,
    )
    with pytest.raises(ModelFailedError):
        harness.infer(1.0)
    assert harness.ended.wait(TIMEOUT_SECONDS)


def test_closing_finishes_queued_photos_and_refuses_new_ones(harness: Harness) -> None:
    first = harness.block_model()
    others = harness.send(1.0, 2.0)
    with ThreadPoolExecutor(1) as thread, harness.batcher.acquire() as slots:
        closing = thread.submit(harness.batcher.close)
        until(lambda: not harness.batcher.accepting)
        with pytest.raises(BatcherClosedError):
            harness.infer(3.0)
        with pytest.raises(BatcherClosedError):
            slots.infer([photo(4.0)], NO_DEADLINE)
        harness.model.release.set()
        closing.result(TIMEOUT_SECONDS)
    assert [output_of(future.result(TIMEOUT_SECONDS)) for future in (first, *others)] == [0, 1, 2]
    harness.batcher.close()


@pytest.mark.slow
def test_many_threads_get_their_own_outputs_despite_out_of_memory(harness: Harness) -> None:
    def fail(batch: Sequence[Pixels]) -> None:
        if len(batch) > 5:
            raise MemoryError

    harness.model.fail = fail
    harness.batcher.close()
    harness.make(max_batch_size=16, max_in_flight=32)

    def send(thread: int) -> bool:
        values = [thread * 1000.0 + number for number in range(100)]
        return [output_of(harness.infer(value)) for value in values] == values

    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(send, range(32)))
