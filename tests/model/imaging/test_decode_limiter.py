"""Limit on the pixels that are decoded concurrently."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import pytest

from model.imaging.decode_limiter import DecodeLimiter, DecodeLimitError
from model.imaging.formats import CorruptImageError

MILLION = 1_000_000


@pytest.fixture
def limiter() -> DecodeLimiter:
    return DecodeLimiter(timeout=0.05)


def test_large_photos_share_the_pixel_budget(limiter: DecodeLimiter) -> None:
    with ExitStack() as photos:
        photos.enter_context(limiter.acquire(30 * MILLION, 64 * MILLION))
        photos.enter_context(limiter.acquire(34 * MILLION, 64 * MILLION))
        with pytest.raises(DecodeLimitError):
            photos.enter_context(limiter.acquire(MILLION + 1, 64 * MILLION))
    with limiter.acquire(64 * MILLION, 64 * MILLION):
        pass


def test_small_photos_neither_wait_nor_use_the_budget(limiter: DecodeLimiter) -> None:
    with ExitStack() as photos:
        photos.enter_context(limiter.acquire(64 * MILLION, 64 * MILLION))
        for _ in range(100):
            photos.enter_context(limiter.acquire(MILLION, 64 * MILLION))


def test_a_photo_larger_than_the_budget_is_decoded_alone(limiter: DecodeLimiter) -> None:
    with ExitStack() as photos:
        photos.enter_context(limiter.acquire(80 * MILLION, 64 * MILLION))
        with pytest.raises(DecodeLimitError):
            photos.enter_context(limiter.acquire(5 * MILLION, 64 * MILLION))


def test_a_failed_photo_releases_its_pixels(limiter: DecodeLimiter) -> None:
    with pytest.raises(CorruptImageError), limiter.acquire(64 * MILLION, 64 * MILLION):
        raise CorruptImageError("damaged")
    with limiter.acquire(64 * MILLION, 64 * MILLION):
        pass


def test_a_waiting_photo_continues_once_the_budget_allows() -> None:
    limiter = DecodeLimiter()
    entered = Event()

    def wait() -> None:
        with limiter.acquire(64 * MILLION, 64 * MILLION):
            entered.set()

    with ThreadPoolExecutor(1) as thread:
        with limiter.acquire(5 * MILLION, 64 * MILLION):
            waiting = thread.submit(wait)
            assert not entered.wait(0.1)
        waiting.result(60)
