"""Host header: required in HTTP/1.1, and compared with the trusted host names."""

from __future__ import annotations

from flask import Flask, request
from werkzeug.sansio.utils import host_is_trusted

from app.http.problems import Code, Problem, quoted
from app.http.route_options import current_route_options


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
            if not host_is_trusted(host.lower(), hosts):
                raise Problem(
                    Code.UNTRUSTED_HOST,
                    f"The host {quoted(host)} is not in PETALSCOPE_TRUSTED_HOSTS.",
                )

    app.before_request(check_host)


def _received_hosts() -> list[str]:
    """Return the Host header and, behind a proxy, X-Forwarded-Host.

    Both are checked, because a proxy may forward an X-Forwarded-Host that the client chose.
    """
    original = request.environ.get("werkzeug.proxy_fix.orig", {}).get("HTTP_HOST")
    hosts = (original, request.environ.get("HTTP_HOST"))
    return list(dict.fromkeys(host for host in hosts if host is not None))
