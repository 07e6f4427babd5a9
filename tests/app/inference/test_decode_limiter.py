from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import pytest
from flask.testing import FlaskClient

from app.inference import decode_limiter as decoding_room
from app.inference import pipeline as uploads
from app.inference.decode_limiter import DecodeLimiter, DecodeLimitError
from tests.app.conftest import encoded, form

MILLION = 1_000_000


@pytest.fixture
def room() -> DecodeLimiter:
    return DecodeLimiter(timeout=0.05)


def test_large_photos_share_the_room_up_to_its_capacity(room: DecodeLimiter) -> None:
    with ExitStack() as photos:
        photos.enter_context(room.acquire(30 * MILLION, 64 * MILLION))
        photos.enter_context(room.acquire(34 * MILLION, 64 * MILLION))
        with pytest.raises(DecodeLimitError):
            photos.enter_context(room.acquire(4 * MILLION + 1, 64 * MILLION))
    with room.acquire(64 * MILLION, 64 * MILLION):
        pass


def test_ordinary_photos_never_wait_and_take_no_room(room: DecodeLimiter) -> None:
    with ExitStack() as photos:
        photos.enter_context(room.acquire(64 * MILLION, 64 * MILLION))
        for _ in range(100):
            photos.enter_context(room.acquire(4 * MILLION, 64 * MILLION))


def test_a_photo_larger_than_the_room_has_it_to_itself(room: DecodeLimiter) -> None:
    with ExitStack() as photos:
        photos.enter_context(room.acquire(80 * MILLION, 64 * MILLION))
        with pytest.raises(DecodeLimitError):
            photos.enter_context(room.acquire(5 * MILLION, 64 * MILLION))


def test_what_failed_gives_its_room_back(room: DecodeLimiter) -> None:
    with pytest.raises(ValueError, match="damaged"), room.acquire(64 * MILLION, 64 * MILLION):
        raise ValueError("damaged")
    with room.acquire(64 * MILLION, 64 * MILLION):
        pass


def test_a_photo_that_waits_goes_on_when_there_is_room() -> None:
    room = DecodeLimiter(timeout=60)
    entered = Event()

    def wait() -> None:
        with room.acquire(64 * MILLION, 64 * MILLION):
            entered.set()

    with ThreadPoolExecutor(1) as thread:
        with room.acquire(5 * MILLION, 64 * MILLION):
            waiting = thread.submit(wait)
            assert not entered.wait(0.1)
        waiting.result(60)


@pytest.fixture
def full(room: DecodeLimiter, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(uploads, "_LIMITER", room)
    monkeypatch.setattr(decoding_room, "_ORDINARY_PIXELS", 500_000)
    with room.acquire(64 * MILLION, 64 * MILLION):
        yield


@pytest.mark.usefixtures("full")
def test_a_large_photo_without_room_is_turned_away_with_429(client: FlaskClient) -> None:
    response = client.post("/predict", **form(encoded("PNG", (800, 700))))
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"
    assert "Other large photos are being decoded" in response.get_json()["detail"]
    assert client.post("/predict", **form(encoded("PNG", (700, 700)))).status_code == 200
    # Decoded at reduced scale, a photo of a camera is no large one.
    assert client.post("/predict", **form(encoded("JPEG", (1600, 1200)))).status_code == 200
