"""Host header: required in HTTP/1.1, and compared with the trusted host names."""

from __future__ import annotations

import re
from typing import Final

from flask import Flask, request

from app.http.problems import Code, Problem, quoted
from app.http.route_options import current_route_options

# Werkzeug's own check splits IPv6 addresses at their first colon and never matches them.
_HOST: Final = re.compile(r"([a-z0-9.-]+|\[[a-f0-9:.]+\])(:[0-9]{1,5})?")


def init_trusted_hosts(app: Flask, hosts: tuple[str, ...]) -> None:
    """Refuse requests for other hosts, except on public routes; no `hosts` accepts any host.

    Args:
        app: The app.
        hosts: Lower-case host names without ports. A leading dot includes all subdomains.
    """

    def check_host() -> None:
        received = _received_hosts()
        if not received and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
            raise Problem(
                Code.BAD_REQUEST, "The request has no Host header, which HTTP/1.1 requires."
            )
        # A health check uses the container's address.
        if not hosts or current_route_options().is_public:
            return
        for host in received or [""]:
            if not _is_trusted(host, hosts):
                raise Problem(
                    Code.UNTRUSTED_HOST,
                    f"The host {quoted(host)} is not in PETALSCOPE_TRUSTED_HOSTS.",
                )

    app.before_request(check_host)


def _is_trusted(host: str, trusted: tuple[str, ...]) -> bool:
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return False
    name = match[1]
    return any(
        name.endswith(item) or name == item[1:] if item.startswith(".") else name == item
        for item in trusted
    )


def _received_hosts() -> list[str]:
    """Return the Host header and, behind a proxy, X-Forwarded-Host.

    Both are checked, because a proxy may forward an X-Forwarded-Host that the client chose.
    """
    original = request.environ.get("werkzeug.proxy_fix.orig", {}).get("HTTP_HOST")
    hosts = (original, request.environ.get("HTTP_HOST"))
    return list(dict.fromkeys(host for host in hosts if host is not None))
