"""Forwarded addresses and prefixes behind trusted proxies."""

from __future__ import annotations

import pytest

from app.http.problems import Code
from tests.app.conftest import MakeApp, form

BROWSER = {"Accept": "text/html"}


def test_the_client_address_comes_from_the_trusted_proxies_only(
    make_app: MakeApp, photo: bytes
) -> None:
    # Each proxy appends the address it saw; the client may forge those on the left.
    senders = ("192.0.2.1, 198.51.100.8", "192.0.2.2, 198.51.100.8", "192.0.2.1, 198.51.100.9")

    def statuses(proxy_count: int) -> list[int]:
        client = make_app(rate_limits=("1/day",), proxy_count=proxy_count).test_client()
        return [
            client.post("/predict", **form(photo), headers={"X-Forwarded-For": sender}).status_code
            for sender in senders
        ]

    assert statuses(0) == [200, 429, 429]
    assert statuses(1) == [200, 429, 200]
    assert statuses(2) == [200, 200, 429]


@pytest.mark.parametrize("prefix", ["/flowers", "/a/b-c/d_1.2"])
def test_links_start_with_the_forwarded_prefix(make_app: MakeApp, prefix: str) -> None:
    client = make_app(proxy_count=1).test_client()
    headers = {"X-Forwarded-Prefix": prefix}
    links = client.get("/", headers={**headers, "Accept": "application/json"}).get_json()["links"]
    assert all(link.startswith(f"{prefix}/") for link in links.values())
    response = client.get("/labels", headers=headers)
    assert "X-Forwarded-Prefix" in response.vary


@pytest.mark.slow
@pytest.mark.parametrize(
    "prefix",
    [
        "//evil.example",
        "/a//evil.example",
        "evil",
        "/a/",
        "/<script>",
        "/ä",
        "https://evil.example",
    ],
)
@pytest.mark.parametrize("path", ["/", "/labels", "/flowers/21", "/nowhere"])
def test_an_invalid_prefix_is_refused_and_appears_in_no_link(
    make_app: MakeApp, path: str, prefix: str
) -> None:
    client = make_app(proxy_count=1).test_client()
    headers = {"X-Forwarded-Prefix": prefix}
    response = client.get(path, headers={**headers, "Accept": "application/json"})
    assert response.status_code == 400
    assert response.get_json()["code"] == Code.BAD_REQUEST
    page = client.get(path, headers={**headers, **BROWSER})
    assert page.status_code == 400
    assert f'="{prefix}' not in page.text
    assert "Location" not in page.headers


def test_without_a_trusted_proxy_the_prefix_is_ignored(make_app: MakeApp) -> None:
    client = make_app().test_client()
    page = client.get("/", headers={**BROWSER, "X-Forwarded-Prefix": "//evil.example"})
    assert page.status_code == 200
    assert "evil.example" not in page.text
