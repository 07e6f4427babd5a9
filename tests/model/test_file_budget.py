"""Limit on the bytes of files in memory."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from model.file_budget import FileBudget

WAIT_SECONDS = 0.05


@pytest.fixture
def budget() -> FileBudget:
    return FileBudget(100)


@pytest.mark.parametrize(
    ("first", "second", "waits"), [(60, 40, False), (60, 41, True), (500, 1, True), (1, 500, True)]
)
def test_files_share_the_bytes_and_a_larger_one_is_alone(
    budget: FileBudget, first: int, second: int, waits: bool
) -> None:
    with ThreadPoolExecutor(1) as pool, budget.reservation() as later:
        with budget.reservation() as reserve:
            reserve(first)
            reading: Future[None] = pool.submit(later, second)
            assert bool(wait([reading], WAIT_SECONDS).not_done) is waits
        reading.result(10)


def test_a_file_gives_its_bytes_back_before_it_waits_for_more(budget: FileBudget) -> None:
    with ThreadPoolExecutor(1) as pool, budget.reservation() as later:
        later(50)
        with budget.reservation() as reserve:
            reserve(50)
            reading: Future[None] = pool.submit(later, 80)
            assert wait([reading], WAIT_SECONDS).not_done
            reserve(100)  # or both would wait for ever
        reading.result(10)


def test_a_failed_file_gives_its_bytes_back(budget: FileBudget) -> None:
    def fail() -> None:
        with budget.reservation() as reserve:
            reserve(100)
            raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        fail()
    with budget.reservation() as reserve:
        reserve(100)
