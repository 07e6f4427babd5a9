"""Rate limits: photos per sender and period, counted in memory or in Redis.

A sender is an API key or, without keys, a client address. While Redis does not respond, photos are
counted in memory.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

import limits
from flask import Flask, Response, current_app, g, request
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.http.problems import Code, Problem
from app.http.route_options import current_route_options
from app.settings import Settings
from model.errors import PetalscopeError

_log: Final = logging.getLogger(__name__)

# Response headers and their meaning.
RATE_LIMIT_HEADERS: Final = {
    "X-RateLimit-Limit": "Photos per period.",
    "X-RateLimit-Remaining": "Photos left in the period.",
    "X-RateLimit-Reset": "When more photos are allowed, in seconds since 1970.",
}

_EXTENSION: Final = "petalscope_rate_limits"
# Keeps the counters apart from those of other programs in the same Redis.
_NAMESPACE: Final = "petalscope"
_MEMORY: Final = "memory://"
_REDIS_TIMEOUT_SECONDS: Final = 0.5
_REDIS_RETRY_SECONDS: Final = 5.0
# Providers give each customer at least this network, so a single client has 2**64 addresses.
_IPV6_PREFIX_LENGTH: Final = 64


class RateLimitsError(PetalscopeError):
    """An unusable storage of the rate limits."""


@dataclass(frozen=True)
class RateLimitStatus:
    """A sender's most restrictive rate limit after a request was counted.

    Attributes:
        rate: The rate that is exceeded, or else the rate with the shortest period.
        exceeded: The request must be refused.
        remaining: Photos left in the current period.
        reset_seconds: Seconds until more photos are allowed, at least 1.
    """

    rate: limits.RateLimitItem
    exceeded: bool
    remaining: int
    reset_seconds: int


class RateLimiter:
    """Counters of all rates, shared through Redis if possible.

    The strategy is a sliding-window counter because it survives a clock that is set back: `limits`
    compares wall-clock times in its other strategies and would refuse senders until the clock
    catches up.

    Args:
        rates: Rates such as "60/minute", at least one.
        storage_uri: "memory://", or the URI of a Redis server.

    Raises:
        ValueError: The URI cannot be used.
    """

    def __init__(self, rates: Sequence[str], storage_uri: str) -> None:
        self._rates = sorted(limits.parse(rate) for rate in rates)
        self._memory = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._redis: SlidingWindowCounterRateLimiter | None = None
        if storage_uri != _MEMORY:
            self._redis = SlidingWindowCounterRateLimiter(_redis_storage(storage_uri))
        self._lock = threading.Lock()
        self._redis_is_down = False
        self._next_redis_attempt = -math.inf

    def count(self, sender: str, photos: int) -> RateLimitStatus:
        """Add photos to a sender's counters."""
        if self._redis is not None and self._may_use_redis():
            try:
                status = self._count(self._redis, sender, photos)
            except StorageError:
                self._note_redis(is_down=True)
            else:
                self._note_redis(is_down=False)
                return status
        return self._count(self._memory, sender, photos)

    def _count(
        self, limiter: SlidingWindowCounterRateLimiter, sender: str, photos: int
    ) -> RateLimitStatus:
        refused = next(
            (
                rate
                for rate in self._rates
                if not limiter.hit(rate, _NAMESPACE, sender, cost=photos)
            ),
            None,
        )
        rate = refused or self._rates[0]
        window = limiter.get_window_stats(rate, _NAMESPACE, sender)
        reset_seconds = math.ceil(window.reset_time - time.time())
        return RateLimitStatus(
            rate,
            refused is not None,
            window.remaining,
            max(1, min(reset_seconds, rate.get_expiry())),
        )

    def _may_use_redis(self) -> bool:
        """Return True if Redis is up, or if this request is the one that tries it again."""
        with self._lock:
            if not self._redis_is_down:
                return True
            now = time.monotonic()
            if now < self._next_redis_attempt:
                return False
            self._next_redis_attempt = now + _REDIS_RETRY_SECONDS
            return True

    def _note_redis(self, *, is_down: bool) -> None:
        with self._lock:
            changed = is_down != self._redis_is_down
            self._redis_is_down = is_down
            if is_down:
                self._next_redis_attempt = time.monotonic() + _REDIS_RETRY_SECONDS
        if changed and is_down:
            _log.warning("Redis does not respond: rate limits are counted in memory")
        elif changed:
            _log.warning("Redis responds again: rate limits are counted in Redis")


def _redis_storage(uri: str) -> RedisStorage:
    # A stopped Redis must not hold the request threads, so there are no retries.
    pool = ConnectionPool.from_url(
        uri,
        socket_connect_timeout=_REDIS_TIMEOUT_SECONDS,
        socket_timeout=_REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return RedisStorage(uri, connection_pool=pool, wrap_exceptions=True)


def init_rate_limits(app: Flask, settings: Settings) -> None:
    """Limit the photos that each sender may send to `app`.

    Raises:
        RateLimitsError: The storage cannot be used.
    """
    try:
        limiter = RateLimiter(settings.rate_limits, settings.rate_limit_storage_uri)
    except ValueError as error:
        raise RateLimitsError(
            "PETALSCOPE_RATE_LIMIT_STORAGE_URI cannot be used; it must be memory:// or "
            "redis://HOST:PORT."
        ) from error
    app.extensions[_EXTENSION] = limiter
    app.before_request(_count_request)
    app.after_request(_add_headers)


def count_photos(photos: int) -> None:
    """Count further photos of the current request, whose first one is already counted.

    Raises:
        Problem: 429 if the sender exceeds a rate limit.
    """
    limiter: RateLimiter | None = current_app.extensions.get(_EXTENSION)
    if limiter is None or photos < 1:
        return
    status = g.rate_limit = limiter.count(_sender(), photos)
    if status.exceeded:
        raise Problem(
            Code.RATE_LIMITED,
            f"The limit of photos per sender is reached ({status.rate}); try again in "
            f"{status.reset_seconds} s. Each photo of a request counts.",
            {"Retry-After": str(status.reset_seconds)},
        )


def _count_request() -> None:
    # Before the form is parsed, so that a refused upload takes no slot. The other photos of a form
    # are counted later, by `count_photos`.
    if request.method == "POST" and current_route_options().takes_photos:
        count_photos(1)


def _add_headers(response: Response) -> Response:
    status: RateLimitStatus | None = g.get("rate_limit")
    if status is not None:
        reset = math.ceil(time.time()) + status.reset_seconds
        values = (status.rate.amount, status.remaining, reset)
        response.headers.update(zip(RATE_LIMIT_HEADERS, map(str, values), strict=True))
    return response


def _sender() -> str:
    return str(g.get("api_key_hash") or client_network(request.remote_addr or ""))


def client_network(address: str) -> str:
    """Return the IPv4 address or the IPv6 /64 network to which a client address belongs.

    Args:
        address: An IP address, possibly with a port: "192.0.2.1:5678", "[2001:db8::1]:99". Some
            proxies add the port in X-Forwarded-For.
    """
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        host = address.partition(":")[0]
    else:
        host = address
    try:
        parsed = ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((int(parsed), _IPV6_PREFIX_LENGTH), strict=False))
    return str(parsed)
