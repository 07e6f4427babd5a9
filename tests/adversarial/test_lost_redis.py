"""A Redis server that stops responding or dies while photos arrive."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.app.conftest import encoded
from tests.redis_server import RedisServer, running_redis
from tests.serving import Server, serving, until

PHOTO: Final = encoded()
LIMIT: Final = 20
SENDERS: Final = 6
# Connect and read timeouts are 0.5 s; the machine of the tests may be busy.
MAX_SECONDS: Final = 3.0

pytestmark = pytest.mark.redis


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, tiny_checkpoint: Path, redis: RedisServer) -> Iterator[Server]:
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_checkpoint),
        "PETALSCOPE_RATE_LIMITS": f"{LIMIT}/day",
        "PETALSCOPE_RATE_LIMIT_STORAGE_URI": redis.uri,
    }
    with serving(tmp_path, **settings) as server:
        yield server


def slowest_health_check(server: Server, seconds: float) -> float:
    slowest, end = 0.0, time.monotonic() + seconds
    while (started := time.monotonic()) < end:
        assert server.request("GET", "/healthz")[0] == 200
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.02)
    return slowest


def warnings(server: Server) -> list[str]:
    return [line["message"] for line in server.log if line["level"] == "warning"]


@pytest.mark.parametrize("sent_signal", [signal.SIGSTOP, signal.SIGKILL])
def test_a_lost_redis_causes_no_errors_and_memory_takes_over(
    server: Server, redis: RedisServer, sent_signal: signal.Signals
) -> None:
    with ThreadPoolExecutor(SENDERS) as pool:
        photos = [pool.submit(server.post, PHOTO) for _ in range(2 * LIMIT)]
        until(lambda: sum(photo.done() for photo in photos) >= 5)
        redis.process.send_signal(sent_signal)
        slowest = slowest_health_check(server, 3)
        statuses = [photo.result()[0] for photo in photos]
    # Each photo was counted in Redis or in memory, so at most the sum of both limits passes.
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= LIMIT
    assert slowest < MAX_SECONDS
    assert [server.post(PHOTO)[0] for _ in range(LIMIT + 1)][-1] == 429
    assert len(warnings(server)) == 1
    assert not any(line["level"] == "error" for line in server.log)


def test_counters_return_to_redis_when_it_responds_again(
    server: Server, redis: RedisServer
) -> None:
    assert server.post(PHOTO)[0] == 200
    redis.process.send_signal(signal.SIGSTOP)
    assert server.post(PHOTO)[0] == 200
    assert len(warnings(server)) == 1
    redis.process.send_signal(signal.SIGCONT)

    def counted_in_redis() -> bool:
        assert server.post(PHOTO)[0] in (200, 429)
        time.sleep(0.5)
        return len(warnings(server)) == 2

    until(counted_in_redis)


def test_health_checks_and_pages_do_not_use_redis(server: Server, redis: RedisServer) -> None:
    redis.process.send_signal(signal.SIGSTOP)
    for path in ("/healthz", "/readyz", "/labels", "/model", "/v1/labels"):
        assert server.request("GET", path)[0] == 200
    assert warnings(server) == []
    # The state after a failure must not change that.
    assert server.post(PHOTO)[0] == 200
    time.sleep(6)
    started = time.monotonic()
    for _ in range(20):
        assert server.request("GET", "/healthz")[0] == 200
    assert time.monotonic() - started < MAX_SECONDS
    assert len(warnings(server)) == 1
