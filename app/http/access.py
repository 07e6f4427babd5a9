"""Access control: trusted hosts, API keys, rate limits.

Clients send a key as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the password of HTTP
Basic authentication, which browsers support. Only hashes of keys are kept in memory.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Final

from flask import Flask, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits.errors import ConfigurationError
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.sansio.utils import host_is_trusted

from app.http.problems import Code, Problem, quoted
from app.http.route_options import current_route_options, options_of
from app.settings import Settings
from model.errors import PetalscopeError

_SHORTEST_KEY: Final = 16


class AccessError(PetalscopeError):
    """Unusable access control settings."""


def init_access(app: Flask, settings: Settings) -> None:
    """Apply access control to `app`; call it after all routes are registered.

    Raises:
        AccessError: The file of keys or the storage of the rates cannot be used.
    """
    if settings.proxy_count:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app,
            x_for=settings.proxy_count,
            x_proto=settings.proxy_count,
            x_host=settings.proxy_count,
            x_prefix=settings.proxy_count,
        )
    if settings.trusted_hosts:
        _trust_hosts(app, settings.trusted_hosts)
    if settings.api_keys_file is not None:
        _ask_for_key(app, read_keys(settings.api_keys_file))
    if settings.rate_limits:
        _limit_rates(app, settings)


def read_keys(path: Path) -> tuple[bytes, ...]:
    """Read a file of keys, one a line, and return their hashes; `#` begins a line of comment.

    Raises:
        AccessError: The file cannot be read, has no keys, or a key is too short.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise AccessError(f"The file of API keys {path} cannot be read: {reason}.") from error
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise AccessError(f"The file of API keys {path} holds none; write one a line.")
    for number, key in enumerate(keys, start=1):
        if len(key) < _SHORTEST_KEY or not key.isascii() or " " in key:
            raise AccessError(
                f"Key {number} in {path} must have {_SHORTEST_KEY} characters of ASCII or more, "
                "without spaces: make one with `openssl rand -hex 24`."
            )
    return tuple(map(_hashed, keys))


def _hashed(key: str) -> bytes:
    # Keys are long and random: no slow hash is needed to keep them from being guessed.
    return hashlib.sha256(key.encode()).digest()


def _trust_hosts(app: Flask, hosts: tuple[str, ...]) -> None:
    def refuse_other_host() -> None:
        # A health check comes by the container's address.
        if not current_route_options().is_public and not host_is_trusted(request.host, hosts):
            raise Problem(
                Code.UNTRUSTED_HOST,
                f"The Host {quoted(request.host)} is not in PETALSCOPE_TRUSTED_HOSTS.",
            )

    app.before_request(refuse_other_host)


def _ask_for_key(app: Flask, keys: tuple[bytes, ...]) -> None:
    def refuse_without_key() -> None:
        # Browsers send preflights without any key; they tell nothing.
        if current_route_options().is_public or request.method == "OPTIONS":
            return
        given = _given_key()
        if given is not None:
            digest = _hashed(given)
            # All are compared, so that the time tells nothing of which one is near.
            if sum(hmac.compare_digest(digest, key) for key in keys):
                g.key = digest.hex()
                return
        if given is None:
            code, cause = Code.API_KEY_MISSING, "The request has no API key"
        else:
            code, cause = Code.API_KEY_INVALID, "The API key is not valid"
        raise Problem(
            code,
            f"{cause}; send it as Authorization: Bearer KEY or as X-API-Key: KEY.",
            {"WWW-Authenticate": 'Basic realm="Petalscope", charset="UTF-8", Bearer'},
        )

    app.before_request(refuse_without_key)


def _given_key() -> str | None:
    if key := request.headers.get("X-API-Key"):
        return key
    authorization = request.authorization
    if authorization is None:
        return None
    if authorization.type == "bearer":
        return authorization.token
    return authorization.password if authorization.type == "basic" else None


def _limit_rates(app: Flask, settings: Settings) -> None:
    try:
        limiter = Limiter(
            _sender,
            app=app,
            storage_uri=settings.rate_limit_storage_uri,
            strategy="moving-window",
            # Without the shared storage each service counts alone, rather than turn all away.
            in_memory_fallback_enabled=True,
            headers_enabled=True,
            retry_after="delta-seconds",
        )
    except ConfigurationError as error:
        raise AccessError(
            "PETALSCOPE_RATE_LIMIT_STORAGE_URI cannot be used; it must be memory:// or redis://HOST:PORT."
        ) from error
    limited = limiter.shared_limit(";".join(settings.rate_limits), scope="photos")
    for endpoint, view in app.view_functions.items():
        if options_of(app, endpoint).takes_photos:
            app.view_functions[endpoint] = limited(view)  # type: ignore[assignment]


def _sender() -> str:
    return str(g.get("key") or get_remote_address())
