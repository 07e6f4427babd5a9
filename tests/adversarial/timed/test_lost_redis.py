"""A Redis server that stops responding or dies while photos arrive.

The tests share one service and take turns with one Redis, which the last test kills.
"""

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
THREADS: Final = 6
# The service waits 0.5 s for Redis; a busy test machine takes longer.
MAX_SECONDS: Final = 3.0
REDIS_RETRY_SECONDS: Final = 5.0

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path, redis: RedisServer
) -> Iterator[Server]:
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PETALSCOPE_PROXY_COUNT": "1",
        "PETALSCOPE_RATE_LIMITS": f"{LIMIT}/day",
        "PETALSCOPE_RATE_LIMIT_STORAGE_URI": redis.uri,
    }
    with serving(tmp_path_factory.mktemp("server"), **settings) as server:
        yield server


def send(server: Server, sender: str) -> int:
    headers = {"Content-Type": "image/jpeg", "X-Forwarded-For": sender}
    return server.request("POST", "/predict", PHOTO, headers)[0]


def slowest_health_check(server: Server, seconds: float) -> float:
    slowest, end = 0.0, time.monotonic() + seconds
    while (started := time.monotonic()) < end:
        assert server.request("GET", "/healthz")[0] == 200
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.02)
    return slowest


def warnings(server: Server) -> int:
    return sum(line["level"] == "warning" for line in server.log)


def resume(redis: RedisServer, server: Server) -> None:
    """Let Redis continue, and wait until the service uses it again."""
    before = warnings(server)
    redis.process.send_signal(signal.SIGCONT)

    def uses_redis() -> bool:
        time.sleep(0.5)
        assert send(server, "192.0.2.100") in (200, 429)
        return warnings(server) == before + 1

    until(uses_redis)


def test_only_photos_wait_for_redis(server: Server, redis: RedisServer) -> None:
    before = warnings(server)
    redis.process.send_signal(signal.SIGSTOP)
    for path in ("/healthz", "/readyz", "/labels", "/model", "/v1/labels"):
        assert server.request("GET", path)[0] == 200
    assert warnings(server) == before
    assert send(server, "192.0.2.1") == 200
    assert warnings(server) == before + 1
    # Health checks do not wait while the service tries Redis again, either.
    time.sleep(REDIS_RETRY_SECONDS + 0.5)
    started = time.monotonic()
    for _ in range(20):
        assert server.request("GET", "/healthz")[0] == 200
    assert time.monotonic() - started < MAX_SECONDS
    assert warnings(server) == before + 1
    resume(redis, server)


def test_counters_survive_in_redis(server: Server, redis: RedisServer) -> None:
    sender = "192.0.2.2"
    assert [send(server, sender) for _ in range(LIMIT)] == [200] * LIMIT
    redis.process.send_signal(signal.SIGSTOP)
    assert send(server, sender) == 200
    resume(redis, server)
    assert send(server, sender) == 429


@pytest.mark.parametrize("sent_signal", [signal.SIGSTOP, signal.SIGKILL])
def test_without_redis_the_service_counts_in_memory(
    server: Server, redis: RedisServer, sent_signal: signal.Signals
) -> None:
    sender, before = f"198.51.100.{sent_signal.value}", warnings(server)
    with ThreadPoolExecutor(THREADS) as pool:
        photos = [pool.submit(send, server, sender) for _ in range(2 * LIMIT)]
        until(lambda: sum(photo.done() for photo in photos) >= 5)
        redis.process.send_signal(sent_signal)
        slowest = slowest_health_check(server, 3)
        statuses = [photo.result() for photo in photos]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= LIMIT
    assert slowest < MAX_SECONDS
    assert [send(server, sender) for _ in range(LIMIT + 1)][-1] == 429
    assert warnings(server) == before + 1
    assert not any(line["level"] == "error" for line in server.log)
    if sent_signal == signal.SIGSTOP:
        resume(redis, server)
