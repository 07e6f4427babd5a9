"""Batch size that fits in memory."""

from __future__ import annotations

import pytest

from app.inference.batch_size import BatchSizeLimit


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_limit_halves_until_a_batch_fits(clock: Clock) -> None:
    limit = BatchSizeLimit(16, clock)
    sizes = []
    while limit.current() > 1:
        sizes.append(limit.current())
        limit.note_out_of_memory(limit.current())
    assert sizes == [16, 8, 4, 2]
    assert limit.current() == 1


def test_the_limit_grows_by_probing_after_a_wait(clock: Clock) -> None:
    limit = BatchSizeLimit(16, clock)
    limit.note_out_of_memory(16)
    limit.note_out_of_memory(8)
    limits = []
    for clock.now in (0, 59, 60, 119, 120, 1000):
        limits.append(limit.current())
        limit.note_success(limit.current())
    assert limits == [4, 4, 8, 8, 16, 16]


def test_a_smaller_batch_is_no_probe(clock: Clock) -> None:
    limit = BatchSizeLimit(16, clock)
    limit.note_out_of_memory(16)
    clock.now = 60
    limit.note_success(3)
    assert limit.current() == 16
    limit.note_success(12)
    assert limit.current() == 12


def test_probes_that_fail_become_rare_and_keep_the_limit(clock: Clock) -> None:
    limit = BatchSizeLimit(16, clock)
    limit.note_out_of_memory(16)
    probes = []
    for clock.now in range(0, 20_000, 10):
        if limit.current() > 8:
            probes.append(clock.now)
            limit.note_out_of_memory(limit.current())
        assert limit.current() == 8
    waits = [after - before for before, after in zip([0, *probes], probes, strict=False)]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]


def test_a_lack_of_memory_below_the_limit_lowers_it(clock: Clock) -> None:
    limit = BatchSizeLimit(16, clock)
    limit.note_out_of_memory(6)
    assert limit.current() == 3
