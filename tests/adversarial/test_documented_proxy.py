"""The nginx block of docs/deploying.md in front of the service, against forged headers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from app.http.problems import Code
from tests.app.conftest import encoded
from tests.conftest import ROOT
from tests.serving import TIMEOUT_SECONDS, free_port, serving, until

PHOTO: Final = encoded()
HOST: Final = "flowers.example.org"
PHOTOS_PER_DAY: Final = 3

pytestmark = pytest.mark.nginx


def configuration(folder: Path, port: int, service_port: int) -> str:
    """Return the documented block on another port and without TLS, as a complete file."""
    (block,) = re.findall(
        r"```nginx\n(.*?)```", (ROOT / "docs/deploying.md").read_text(encoding="utf-8"), re.DOTALL
    )
    for documented, replacement in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("http://127.0.0.1:8000", f"http://127.0.0.1:{service_port}"),
    ):
        assert documented in block
        block = block.replace(documented, replacement)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    # Workers of a nginx that root starts would otherwise run as a user without access to `folder`.
    user = "user root root;\n" if os.geteuid() == 0 else ""
    return (
        f"{user}daemon off;\npid {folder}/nginx.pid;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{block}}}\n"
    )


def accepts_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[int]:
    """Run nginx in front of a service, and yield nginx's port."""
    folder = tmp_path_factory.mktemp("nginx")
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_checkpoint),
        "PETALSCOPE_PROXY_COUNT": "1",
        "PETALSCOPE_TRUSTED_HOSTS": HOST,
        "PETALSCOPE_RATE_LIMITS": f"{PHOTOS_PER_DAY}/day",
    }
    command = shutil.which("nginx")
    assert command is not None
    with serving(folder, **settings) as server:
        port = free_port()
        file, log = folder / "nginx.conf", folder / "nginx.log"
        file.write_text(configuration(folder, port, server.port))
        process = subprocess.Popen([command, "-p", str(folder), "-c", str(file), "-e", str(log)])
        try:
            until(lambda: accepts_connections(port) or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield port
        finally:
            process.terminate()
            process.wait(TIMEOUT_SECONDS)


def request(
    port: int, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST" if body else "GET", path, body, {"Host": HOST, **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_pages_are_served_through_the_proxy(proxy: int) -> None:
    assert request(proxy, "/", {"Accept": "text/html"})[0] == 200


def test_a_forged_forwarded_host_does_not_bypass_the_trusted_hosts(proxy: int) -> None:
    forged = {"Host": "evil.example", "X-Forwarded-Host": HOST}
    status, body = request(proxy, "/labels", forged)
    assert status == 400
    assert Code.UNTRUSTED_HOST in body
    status, body = request(proxy, "/", {"Accept": "text/html", "X-Forwarded-Host": "evil.example"})
    assert status == 200
    assert "evil.example" not in body


def test_a_forged_prefix_is_removed(proxy: int) -> None:
    headers = {"Accept": "text/html", "X-Forwarded-Prefix": "//evil.example"}
    for path in ("/", "/flowers"):
        status, body = request(proxy, path, headers)
        assert status == 200
        assert "evil.example" not in body


def test_a_forged_client_address_does_not_bypass_the_rate_limit(proxy: int) -> None:
    statuses = [
        request(
            proxy,
            "/predict",
            {"Content-Type": "image/jpeg", "X-Forwarded-For": f"192.0.2.{number}"},
            PHOTO,
        )[0]
        for number in range(PHOTOS_PER_DAY + 1)
    ]
    assert statuses == [200] * PHOTOS_PER_DAY + [429]
