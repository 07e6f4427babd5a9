"""Rate limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.http.problems import Code
from app.http.rate_limits import RateLimiter, RateLimitsError, client_network
from tests.app.conftest import MakeApp, form, multipart
from tests.redis_server import RedisServer, running_redis

# Limits are per day, because a window of a minute could end within a test.
TWO_PER_DAY = ("2/day",)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as server:
        yield server


def send(client: FlaskClient, photo: bytes, address: str = "192.0.2.1") -> int:
    response = client.post("/predict", **form(photo), environ_overrides={"REMOTE_ADDR": address})
    return response.status_code


def combined(photo: bytes, count: int) -> dict[str, object]:
    return multipart(*((("image", f"{number}.jpg", photo)) for number in range(count)))


@pytest.mark.slow
def test_a_sender_over_its_limit_is_refused_and_others_are_not(
    make_app: MakeApp, photo: bytes
) -> None:
    client = make_app(rate_limits=("2/day", "100/day")).test_client()
    here, there = ({"REMOTE_ADDR": f"192.0.2.{number}"} for number in (1, 2))
    assert client.post("/predict", **form(photo), environ_overrides=here).status_code == 200
    # The page and the API share one limit.
    assert client.post("/", **form(photo), environ_overrides=here).status_code == 200
    for path in ("/predict", "/", "/v1/predict"):
        response = client.post(path, **form(photo), environ_overrides=here)
        assert response.status_code == 429
        assert 0 < int(response.headers["Retry-After"]) <= 24 * 3600
    response = client.post("/predict", **form(photo), environ_overrides=here)
    assert response.get_json()["code"] == Code.RATE_LIMITED
    assert client.get("/labels", environ_overrides=here).status_code == 200
    assert client.post("/predict", **form(photo), environ_overrides=there).status_code == 200


def test_a_response_has_the_state_of_the_limit(make_app: MakeApp, photo: bytes) -> None:
    client = make_app(rate_limits=TWO_PER_DAY).test_client()
    remaining = []
    for _ in range(3):
        response = client.post("/predict", **form(photo))
        assert response.headers["X-RateLimit-Limit"] == "2"
        assert int(response.headers["X-RateLimit-Reset"]) > time.time()
        remaining.append(response.headers["X-RateLimit-Remaining"])
    assert remaining == ["1", "0", "0"]


def test_only_a_refusal_says_when_to_retry(make_app: MakeApp, photo: bytes) -> None:
    client = make_app(rate_limits=("1/day",)).test_client()
    for status in (200, 429, 429):
        response = client.post("/predict", **form(photo))
        assert response.status_code == status
        assert ("Retry-After" in response.headers) is (status == 429)
    assert "Retry-After" not in client.get("/labels").headers


def test_pages_of_other_origins_can_read_the_state_of_the_limit(
    make_app: MakeApp, photo: bytes
) -> None:
    origin = "https://friend.example"
    client = make_app(rate_limits=("1/day",), cors_origins=(origin,)).test_client()
    for status in (200, 429):
        response = client.post("/predict", **form(photo), headers={"Origin": origin})
        assert response.status_code == status
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        limits = {name for name, _ in response.headers if name.startswith("X-RateLimit-")}
        assert len(limits) == 3
        assert limits | {"Retry-After"} <= set(exposed)


def test_each_photo_of_a_combined_request_counts(make_app: MakeApp, photo: bytes) -> None:
    client = make_app(rate_limits=("4/day",)).test_client()
    path = "/predict?combine=1"
    assert client.post(path, **combined(photo, 3)).status_code == 200
    response = client.post(path, **combined(photo, 3))
    assert response.get_json()["code"] == Code.RATE_LIMITED
    assert response.headers["Retry-After"]


def test_only_requests_with_photos_count(make_app: MakeApp, photo: bytes) -> None:
    client = make_app(rate_limits=("1/day",)).test_client()
    for _ in range(3):
        assert client.get("/").status_code == 200
        assert client.get("/labels").status_code == 200
        assert client.options("/predict").status_code == 200
        assert client.get("/predict").status_code == 405
    assert client.post("/predict", **form(photo)).status_code == 200


def test_the_addresses_of_one_ipv6_network_share_a_limit(make_app: MakeApp, photo: bytes) -> None:
    client = make_app(rate_limits=TWO_PER_DAY).test_client()
    assert send(client, photo, "2001:db8:1:2::1") == 200
    assert send(client, photo, "2001:db8:1:2:ffff::9") == 200
    assert send(client, photo, "2001:db8:1:2:3:4:5:6") == 429
    assert send(client, photo, "2001:db8:1:3::1") == 200


def test_a_port_in_x_forwarded_for_is_ignored(make_app: MakeApp, photo: bytes) -> None:
    client = make_app(rate_limits=TWO_PER_DAY, proxy_count=1).test_client()

    def statuses(*senders: str) -> list[int]:
        return [
            client.post("/predict", **form(photo), headers={"X-Forwarded-For": sender}).status_code
            for sender in senders
        ]

    assert statuses("192.0.2.7:1", "192.0.2.7:2", "192.0.2.7") == [200, 200, 429]
    assert statuses('"[2001:db8::1]:1"', "[2001:db8::2]:99", "2001:db8::3") == [200, 200, 429]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:5678", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("[2001:db8::1]:99", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("_hidden", "unknown"),
        ("[", "unknown"),
    ],
)
def test_client_network(address: str, network: str) -> None:
    assert client_network(address) == network


@pytest.mark.parametrize("seconds_back", [50, 3600, 86_400])
def test_a_clock_set_back_does_not_block_senders(
    monkeypatch: pytest.MonkeyPatch, seconds_back: int
) -> None:
    limiter = RateLimiter(("2/second",), "memory://")
    assert [limiter.count("sender", 1).exceeded for _ in range(9)][-1]
    now = time.time() - seconds_back
    monkeypatch.setattr(time, "time", lambda: now)
    status = limiter.count("sender", 1)
    assert status.reset_seconds == 1
    monkeypatch.setattr(time, "time", lambda: now + 2)
    assert not limiter.count("sender", 1).exceeded


@pytest.mark.parametrize(
    "storage", ["memory", "carrier-pigeon://loft", "redis://host:port", "redis://host:99999"]
)
def test_an_invalid_storage_uri_stops_the_start(make_app: MakeApp, storage: str) -> None:
    with pytest.raises(RateLimitsError, match="PETALSCOPE_RATE_LIMIT_STORAGE_URI"):
        make_app(rate_limits=("1/minute",), rate_limit_storage_uri=storage)


@pytest.mark.redis
def test_services_share_limits_through_redis_or_count_alone(
    make_app: MakeApp, redis: RedisServer, photo: bytes
) -> None:
    first, second = (
        make_app(rate_limits=TWO_PER_DAY, rate_limit_storage_uri=redis.uri).test_client()
        for _ in range(2)
    )
    assert send(first, photo) == 200
    assert send(second, photo) == 200
    assert send(first, photo) == 429
    redis.process.kill()
    redis.process.wait()
    assert [send(first, photo) for _ in range(3)] == [200, 200, 429]
    assert [send(second, photo) for _ in range(3)] == [200, 200, 429]


@pytest.mark.redis
def test_a_combined_request_counts_its_photos_in_redis(
    make_app: MakeApp, redis: RedisServer, photo: bytes
) -> None:
    client = make_app(rate_limits=("3/day",), rate_limit_storage_uri=redis.uri).test_client()
    assert client.post("/predict?combine=1", **combined(photo, 3)).status_code == 200
    assert send(client, photo, "127.0.0.1") == 429
