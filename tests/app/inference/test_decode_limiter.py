"""Limit on the pixels that are decoded concurrently."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import pytest
from flask.testing import FlaskClient

from app.inference import photos
from app.inference.decode_limiter import DecodeLimiter, DecodeLimitError
from model.imaging.formats import CorruptImageError
from tests.app.conftest import encoded, form

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
    limiter = DecodeLimiter(timeout=60)
    entered = Event()

    def wait() -> None:
        with limiter.acquire(64 * MILLION, 64 * MILLION):
            entered.set()

    with ThreadPoolExecutor(1) as thread:
        with limiter.acquire(5 * MILLION, 64 * MILLION):
            waiting = thread.submit(wait)
            assert not entered.wait(0.1)
        waiting.result(60)


@pytest.fixture
def full(limiter: DecodeLimiter, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(photos, "DECODE_LIMITER", limiter)
    with limiter.acquire(64 * MILLION, 64 * MILLION):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("full")
def test_a_large_photo_gets_429_while_the_budget_is_exhausted(client: FlaskClient) -> None:
    response = client.post("/predict", **form(encoded("PNG", (1001, 1000))))
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"
    assert response.get_json()["code"] == "decoder_busy"
    assert client.post("/predict", **form(encoded("PNG", (1000, 1000)))).status_code == 200
    # A JPEG of 12 megapixels is decoded at reduced scale, so it is not a large photo.
    assert client.post("/predict", **form(encoded("JPEG", (4000, 3000)))).status_code == 200
