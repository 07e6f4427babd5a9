"""The normal forms of settings that hold several values; a ValueError says what would be right."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import limits

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]")


def normal_origin(origin: str) -> str:
    """Write an origin as browsers do: in lower case, without the port its scheme implies.

    Raises:
        ValueError: It is no origin, nor the star that stands for all.
    """
    origin = origin.lower()
    for scheme, port in _DEFAULT_PORTS.items():
        if origin.startswith(f"{scheme}://"):
            origin = origin.removesuffix(f":{port}")
    if origin != "*" and not _is_origin(origin):
        raise ValueError(
            "an origin is scheme://host or scheme://host:port with nothing behind, such as "
            "https://example.org"
        )
    return origin


def _is_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        port = f":{parts.port}" if parts.port is not None else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        whole = bool(parts.scheme and host) and origin == f"{parts.scheme}://{host}{port}"
    except ValueError:
        return False
    return whole and " " not in origin


def normal_rate(rate: str) -> str:
    """Check a rate, as the library `limits` reads it.

    Raises:
        ValueError: It is no rate.
    """
    try:
        if limits.parse(rate).amount > 0:
            return rate
    except ValueError:
        pass
    raise ValueError("a rate is NUMBER/UNIT, such as 5/second, 60/minute, 100/hour or 1000/day")


def normal_host(host: str) -> str:
    """Write the name of a host in lower case.

    Raises:
        ValueError: It is none.
    """
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ValueError("a host is a name alone, such as flowers.example.org or .example.org")
    return host
