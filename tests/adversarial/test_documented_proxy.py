"""The nginx block of docs/deploying.md in front of the service, against forged headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from app.http.problems import Code
from tests.app.conftest import encoded
from tests.conftest import ROOT
from tests.nginx_server import running_nginx
from tests.serving import TIMEOUT_SECONDS, free_port, serving

PHOTO: Final = encoded()
HOST: Final = "flowers.example.org"
PHOTOS_PER_DAY: Final = 3

pytestmark = pytest.mark.nginx


def documented_block(port: int, service_port: int) -> str:
    """Return the documented block on another port and without TLS."""
    block: str
    (block,) = re.findall(
        r"```nginx\n(.*?)```", (ROOT / "docs/deploying.md").read_text(encoding="utf-8"), re.DOTALL
    )
    for documented, replacement in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("http://127.0.0.1:8000", f"http://127.0.0.1:{service_port}"),
    ):
        assert documented in block
        block = block.replace(documented, replacement)
    return block


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path) -> Iterator[int]:
    """Run nginx in front of a service, and yield nginx's port."""
    folder = tmp_path_factory.mktemp("nginx")
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PETALSCOPE_PROXY_COUNT": "1",
        "PETALSCOPE_TRUSTED_HOSTS": HOST,
        "PETALSCOPE_RATE_LIMITS": f"{PHOTOS_PER_DAY}/day",
    }
    with serving(folder, **settings) as server:
        port = free_port()
        with running_nginx(folder, documented_block(port, server.port), port):
            yield port


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
