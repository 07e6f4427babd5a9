"""Trusted hosts."""

from __future__ import annotations

import pytest

from app.http.problems import Code
from tests.app.conftest import MakeApp

TRUSTED = ("flowers.example", ".example.org", "[2001:db8::1]")


@pytest.mark.parametrize(
    "host",
    [
        "flowers.example",
        "flowers.example:8000",
        "FLOWERS.Example",
        "example.org",
        "a.b.example.org",
        "[2001:db8::1]",
        "[2001:DB8::1]:8000",
    ],
)
def test_a_trusted_host_is_accepted(make_app: MakeApp, host: str) -> None:
    client = make_app(trusted_hosts=TRUSTED).test_client()
    assert client.get("/labels", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "flowers.example.evil",
        "evilexample.org",
        "evil.example/.example.org",
        "10.0.0.1:8000",
        "[2001:db8::2]",
        "2001:db8::1",
        "",
        "a b",
    ],
)
def test_any_other_host_is_refused_except_for_health_checks(make_app: MakeApp, host: str) -> None:
    client = make_app(trusted_hosts=TRUSTED).test_client()
    response = client.get("/labels", headers={"Host": host})
    assert response.get_json()["code"] == Code.UNTRUSTED_HOST
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("host", "forwarded"),
    [("evil.example", "flowers.example"), ("flowers.example", "evil.example")],
)
def test_x_forwarded_host_does_not_bypass_the_trusted_hosts(
    make_app: MakeApp, host: str, forwarded: str
) -> None:
    client = make_app(trusted_hosts=TRUSTED, proxy_count=1).test_client()
    headers = {"Host": host, "X-Forwarded-Host": forwarded}
    response = client.get("/labels", headers=headers)
    assert response.get_json()["code"] == Code.UNTRUSTED_HOST
    headers = {"Host": "flowers.example", "X-Forwarded-Host": "flowers.example"}
    assert client.get("/labels", headers=headers).status_code == 200


def test_http_1_1_requires_a_host(make_app: MakeApp) -> None:
    client = make_app().test_client()
    without_host: dict[str, str | None] = {"HTTP_HOST": None}
    for path in ("/labels", "/healthz"):
        response = client.get(path, environ_overrides=without_host)
        assert response.status_code == 400
        assert response.get_json()["code"] == Code.BAD_REQUEST
    without_host["SERVER_PROTOCOL"] = "HTTP/1.0"
    assert client.get("/labels", environ_overrides=without_host).status_code == 200
