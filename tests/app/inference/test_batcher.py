from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from app.inference.batcher import (
    AbandonedError,
    Batcher,
    BatcherClosedError,
    BatchOutOfMemoryError,
    DeadlineExceededError,
    Inference,
    ModelFailedError,
    TooManyInFlightError,
)
from model.backends.base import Array

PATIENCE = 60  # Seconds after which a test is stuck; no test comes near it.
NEVER = 1e9


def photo(value: float) -> Array:
    return np.full((3, 2, 2), value, dtype=np.float32)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a state that only comes, and does not go by itself."""
    tick = threading.Event()
    ticks = 0
    while not condition():
        tick.wait(0.001)
        ticks += 1
        assert ticks < PATIENCE * 1000, "stuck"


def answer(inference: Inference[Array]) -> float:
    return float(inference.output[0])


class Model:
    """A model whose answer to a photo is the photo's own value, and which can be held."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.release = threading.Event()
        self.release.set()
        self.fault: Callable[[Array], None] = lambda batch: None

    def __call__(self, batch: Array) -> Array:
        self.batches.append([float(value) for value in batch[:, 0, 0, 0]])
        assert self.release.wait(PATIENCE)
        self.fault(batch)
        return batch[:, :, 0, 0].copy()


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A batcher with a model, and request threads to try it."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.model = Model()
        self.clock = Clock()
        self.ended = threading.Event()
        self._threads = threads
        self.make()

    def make(self, *, max_batch_size: int = 8, max_in_flight: int = 32) -> None:
        self.batcher = Batcher(
            self.model,
            max_batch_size=max_batch_size,
            max_in_flight=max_in_flight,
            on_failure=self.ended.set,
            clock=self.clock,
        )

    def infer(
        self, value: float, deadline: float = NEVER, is_connected: Callable[[], bool] = lambda: True
    ) -> Inference[Array]:
        with self.batcher.acquire(is_connected) as infer:
            return infer(photo(value), deadline)

    def send(
        self,
        *values: float,
        deadline: float = NEVER,
        is_connected: Callable[[], bool] = lambda: True,
    ) -> list[Future[Inference[Array]]]:
        """Send photos from a thread each, and return when all of them wait."""
        waiting = self.batcher.queued
        futures = [
            self._threads.submit(self.infer, value, deadline, is_connected) for value in values
        ]
        until(lambda: self.batcher.queued == waiting + len(values))
        return futures

    def occupy(self) -> Future[Inference[Array]]:
        """Have the held model work on photo 0, so that all that follow wait."""
        self.model.release.clear()
        batches = len(self.model.batches)
        future = self._threads.submit(self.infer, 0.0)
        until(lambda: len(self.model.batches) > batches)
        return future


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ThreadPoolExecutor(64) as threads:
        bench = Bench(threads)
        yield bench
        bench.model.release.set()
        bench.batcher.close()


def test_a_photo_gets_its_own_answer(bench: Bench) -> None:
    assert answer(bench.infer(7.0)) == 7.0


def test_an_idle_model_does_not_wait_for_company(bench: Bench) -> None:
    for value in (1.0, 2.0):
        bench.infer(value)
    assert bench.model.batches == [[1.0], [2.0]]


def test_what_gathers_while_the_model_runs_is_one_batch_in_order(bench: Bench) -> None:
    first = bench.occupy()
    others = [future for value in (1.0, 2.0, 3.0) for future in bench.send(value)]
    bench.model.release.set()
    assert [answer(future.result(PATIENCE)) for future in (first, *others)] == [0, 1, 2, 3]
    assert bench.model.batches == [[0.0], [1.0, 2.0, 3.0]]


def test_a_batch_is_no_larger_than_allowed(bench: Bench) -> None:
    bench.batcher.close()
    bench.make(max_batch_size=2)
    first = bench.occupy()
    others = bench.send(1.0, 2.0, 3.0, 4.0, 5.0)
    bench.model.release.set()
    assert [answer(future.result(PATIENCE)) for future in (first, *others)] == [0, 1, 2, 3, 4, 5]
    assert [len(batch) for batch in bench.model.batches] == [1, 2, 2, 1]


def test_the_answer_tells_how_long_it_waited_and_ran(bench: Bench) -> None:
    first = bench.occupy()
    bench.clock.now = 2.0
    (second,) = bench.send(1.0)
    bench.clock.now = 5.0
    bench.model.release.set()
    assert (first.result(PATIENCE).waited, first.result(PATIENCE).ran) == (0.0, 5.0)
    assert (second.result(PATIENCE).waited, second.result(PATIENCE).ran) == (3.0, 0.0)


def test_places_are_bounded_from_before_the_photo_is_read(bench: Bench) -> None:
    bench.batcher.close()
    bench.make(max_in_flight=2)
    with ExitStack() as places:
        for _ in range(2):
            places.enter_context(bench.batcher.acquire())
        with pytest.raises(TooManyInFlightError):
            bench.infer(1.0)
    assert answer(bench.infer(1.0)) == 1.0


def test_a_place_is_given_back_when_the_photo_turns_out_bad(bench: Bench) -> None:
    bench.batcher.close()
    bench.make(max_in_flight=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="bad photo"), bench.batcher.acquire():
            raise ValueError("bad photo")
    assert answer(bench.infer(1.0)) == 1.0


def test_a_photo_whose_deadline_passed_while_it_waited_is_not_run(bench: Bench) -> None:
    first = bench.occupy()
    (late,) = bench.send(1.0, deadline=10.0)
    (early,) = bench.send(2.0, deadline=12.0)
    bench.clock.now = 11.0
    bench.model.release.set()
    assert answer(first.result(PATIENCE)) == 0.0
    assert answer(early.result(PATIENCE)) == 2.0
    with pytest.raises(DeadlineExceededError):
        late.result(PATIENCE)
    assert bench.model.batches == [[0.0], [2.0]]


def test_a_caller_is_not_kept_past_its_deadline_by_a_busy_model(bench: Bench) -> None:
    first = bench.occupy()
    with pytest.raises(DeadlineExceededError):
        bench.infer(1.0, deadline=bench.clock.now)
    assert bench.batcher.queued == 0
    bench.model.release.set()
    assert answer(first.result(PATIENCE)) == 0.0
    assert answer(bench.infer(2.0)) == 2.0
    assert bench.model.batches == [[0.0], [2.0]]


def test_an_answer_that_comes_too_late_harms_nobody(bench: Bench) -> None:
    bench.model.release.clear()
    with pytest.raises(DeadlineExceededError):
        bench.infer(1.0, deadline=0.1)
    bench.model.release.set()
    assert answer(bench.infer(2.0)) == 2.0
    assert bench.model.batches == [[1.0], [2.0]]


def test_a_photo_that_nobody_waits_for_is_not_run(bench: Bench) -> None:
    there = threading.Event()
    there.set()
    first = bench.occupy()
    (left,) = bench.send(1.0, is_connected=there.is_set)
    (stayed,) = bench.send(2.0)
    there.clear()
    bench.model.release.set()
    assert answer(first.result(PATIENCE)) == 0.0
    assert answer(stayed.result(PATIENCE)) == 2.0
    with pytest.raises(AbandonedError):
        left.result(PATIENCE)
    assert bench.model.batches == [[0.0], [2.0]]


def test_a_photo_that_nobody_waits_for_takes_no_place(bench: Bench) -> None:
    with pytest.raises(AbandonedError):
        bench.infer(1.0, is_connected=lambda: False)
    assert bench.batcher.in_flight == 0
    assert bench.model.batches == []


def test_those_who_left_make_room_in_a_full_queue_while_the_model_runs(bench: Bench) -> None:
    bench.batcher.close()
    bench.make(max_in_flight=4)
    there = threading.Event()
    there.set()
    first = bench.occupy()
    (stayed,) = bench.send(1.0)
    left = bench.send(2.0, 3.0, is_connected=there.is_set)
    with pytest.raises(TooManyInFlightError):
        bench.infer(4.0)
    there.clear()
    bench.clock.now += 1
    with ExitStack() as places:
        for _ in range(2):
            places.enter_context(bench.batcher.acquire())
        with pytest.raises(TooManyInFlightError):
            bench.infer(4.0)
        for future in left:
            with pytest.raises(AbandonedError):
                future.result(PATIENCE)
        # Their threads gave back nothing twice.
        assert bench.batcher.in_flight == 4
    bench.model.release.set()
    assert [answer(future.result(PATIENCE)) for future in (first, stayed)] == [0.0, 1.0]
    assert bench.batcher.in_flight == 0
    assert bench.model.batches == [[0.0], [1.0]]


def test_who_waits_is_not_asked_again_at_every_refusal(bench: Bench) -> None:
    bench.batcher.close()
    bench.make(max_in_flight=2)
    asked: list[float] = []

    def is_connected() -> bool:
        asked.append(bench.clock.now)
        return True

    first = bench.occupy()
    (waiting,) = bench.send(1.0, is_connected=is_connected)
    asked.clear()
    for now in (0.0, 0.01, 0.02, 1.0, 1.01):
        bench.clock.now = now
        with pytest.raises(TooManyInFlightError):
            bench.infer(2.0)
    assert asked == [0.0, 1.0]
    bench.model.release.set()
    assert [answer(future.result(PATIENCE)) for future in (first, waiting)] == [0.0, 1.0]


def test_out_of_memory_halves_the_batch_and_goes_on(bench: Bench) -> None:
    def fault(batch: Array) -> None:
        if len(batch) > 2:
            raise MemoryError

    bench.model.fault = fault
    first = bench.occupy()
    others = bench.send(*(float(value) for value in range(1, 9)))
    bench.model.release.set()
    answers = [answer(future.result(PATIENCE)) for future in (first, *others)]
    assert answers == list(range(9))
    assert [len(batch) for batch in bench.model.batches] == [1, 8, 4, 2, 2, 2, 2]
    assert bench.batcher.accepting


def test_a_batch_that_did_not_fit_is_not_tried_again(bench: Bench) -> None:
    def fault(batch: Array) -> None:
        if len(batch) > 3:
            raise MemoryError

    bench.model.fault = fault
    for _ in range(2):
        first = bench.occupy()
        others = bench.send(1.0, 2.0, 3.0, 4.0)
        bench.model.release.set()
        for future in (first, *others):
            future.result(PATIENCE)
    assert [len(batch) for batch in bench.model.batches] == [1, 4, 2, 2, 1, 2, 2]


def test_a_photo_without_memory_even_alone_fails_alone(bench: Bench) -> None:
    def fault(batch: Array) -> None:
        if 2.0 in batch:
            raise MemoryError

    bench.model.fault = fault
    first = bench.occupy()
    one, two, three = bench.send(1.0, 2.0, 3.0)
    bench.model.release.set()
    assert [answer(future.result(PATIENCE)) for future in (first, one, three)] == [0, 1, 3]
    with pytest.raises(BatchOutOfMemoryError):
        two.result(PATIENCE)
    assert not bench.ended.is_set()
    assert answer(bench.infer(4.0)) == 4.0


def test_any_other_fault_answers_all_and_ends_the_service(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(batch: Array) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    first = bench.occupy()
    others = bench.send(1.0, 2.0)
    bench.model.fault = fault
    with caplog.at_level(logging.CRITICAL):
        bench.model.release.set()
        for future in (first, *others):
            with pytest.raises(ModelFailedError):
                future.result(PATIENCE)
        assert bench.ended.wait(PATIENCE)
    assert len(bench.model.batches) == 1
    assert not bench.batcher.accepting
    with pytest.raises(BatcherClosedError):
        bench.infer(3.0)
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.exc_info is not None
    assert "illegal memory access" in str(record.exc_info[1])


def test_a_model_that_loses_a_row_is_a_fault_and_no_mixed_up_answer(bench: Bench) -> None:
    bench.batcher.close()
    bench.batcher = Batcher(
        lambda batch: bench.model(batch)[:0],
        max_batch_size=8,
        max_in_flight=8,
        on_failure=bench.ended.set,
    )
    with pytest.raises(ModelFailedError):
        bench.infer(1.0)
    assert bench.ended.wait(PATIENCE)


def test_closing_answers_all_that_wait_and_refuses_what_comes_after(bench: Bench) -> None:
    first = bench.occupy()
    others = bench.send(1.0, 2.0)
    with ThreadPoolExecutor(1) as thread, bench.batcher.acquire() as infer:
        closing = thread.submit(bench.batcher.close)
        until(lambda: not bench.batcher.accepting)
        with pytest.raises(BatcherClosedError):
            bench.infer(3.0)
        with pytest.raises(BatcherClosedError):
            infer(photo(4.0), NEVER)
        bench.model.release.set()
        closing.result(PATIENCE)
    assert [answer(future.result(PATIENCE)) for future in (first, *others)] == [0, 1, 2]
    bench.batcher.close()


def test_many_threads_each_get_their_own_answer_whatever_runs_out_of_memory(bench: Bench) -> None:
    def fault(batch: Array) -> None:
        if len(batch) > 5:
            raise MemoryError

    bench.model.fault = fault
    bench.batcher.close()
    bench.make(max_batch_size=16, max_in_flight=32)

    def ask(thread: int) -> bool:
        values = [thread * 1000.0 + number for number in range(100)]
        return [answer(bench.infer(value)) for value in values] == values

    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(ask, range(32)))
