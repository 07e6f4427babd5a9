"""API keys: the key file, and the check of each request.

Clients send a key as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the password of HTTP
Basic authentication, which browsers support. Only hashes of keys are kept in memory.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Final

from flask import Flask, g, request

from app.http.problems import Code, Problem
from app.http.route_options import current_route_options
from model.errors import PetalscopeError

_MIN_KEY_LENGTH: Final = 16


class ApiKeysError(PetalscopeError):
    """An unusable key file."""


def init_api_keys(app: Flask, path: Path) -> None:
    """Require one of the keys in a file on every route that is not public.

    Raises:
        ApiKeysError: The file cannot be used.
    """
    hashes = read_key_hashes(path)

    def require_key() -> None:
        # Browsers send no key with a preflight, and its response holds no data.
        if current_route_options().is_public or request.method == "OPTIONS":
            return
        key = _key_of_request()
        if key is None:
            code, cause = Code.API_KEY_MISSING, "The request has no API key"
        else:
            key_hash = _hash(key)
            # Compare with all of them, so that the duration does not reveal which one is close.
            if sum(hmac.compare_digest(key_hash, known) for known in hashes):
                g.api_key_hash = key_hash.hex()
                return
            code, cause = Code.API_KEY_INVALID, "The API key is not valid"
        raise Problem(
            code,
            f"{cause}; send it as Authorization: Bearer KEY or as X-API-Key: KEY.",
            {"WWW-Authenticate": 'Basic realm="Petalscope", charset="UTF-8", Bearer'},
        )

    app.before_request(require_key)


def read_key_hashes(path: Path) -> tuple[bytes, ...]:
    """Read a key file and return the SHA-256 of each key.

    The file has one key per line. Blank lines and lines that start with `#` are skipped.

    Raises:
        ApiKeysError: The file cannot be read, has no keys, or has an invalid one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ApiKeysError(f"The key file {path} cannot be read: {reason}.") from error
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise ApiKeysError(f"The key file {path} has no keys; write one per line.")
    for number, key in enumerate(keys, start=1):
        if len(key) < _MIN_KEY_LENGTH or not key.isascii() or " " in key:
            raise ApiKeysError(
                f"Key {number} in {path} must have at least {_MIN_KEY_LENGTH} ASCII characters and "
                "no spaces: create one with `openssl rand -hex 24`."
            )
    return tuple(map(_hash, keys))


def _hash(key: str) -> bytes:
    # Keys are long and random, so a slow password hash is not needed.
    return hashlib.sha256(key.encode()).digest()


def _key_of_request() -> str | None:
    if key := request.headers.get("X-API-Key"):
        return key
    authorization = request.authorization
    if authorization is None:
        return None
    if authorization.type == "bearer":
        return authorization.token
    return authorization.password if authorization.type == "basic" else None
