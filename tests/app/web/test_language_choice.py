"""The reader's choice of a language: links, the cookie and the order of preferences."""

from __future__ import annotations

import html
import re

import pytest
from flask.testing import FlaskClient

from app.web.translations import message_catalogs
from tests.app.conftest import MakeApp, form

BROWSER = {"Accept": "text/html"}
GERMAN = {**BROWSER, "Accept-Language": "de"}
ALTERNATE = re.compile(r'<link rel="alternate" hreflang="([^"]+)" href="([^"]+)">')
LINK = re.compile(
    r'<a href="([^"]+)" lang="([\w-]+)" hreflang="([\w-]+)"( aria-current="true")?>([^<]+)<'
)


def language_of(client: FlaskClient, path: str = "/flowers", header: str = "") -> str:
    response = client.get(path, headers={**BROWSER, "Accept-Language": header})
    language = response.headers["Content-Language"]
    assert f'<html lang="{language}">' in response.text
    return language


def test_a_choice_comes_before_the_cookie_and_the_cookie_before_the_browser(
    client: FlaskClient,
) -> None:
    assert language_of(client, header="de") == "de"
    client.set_cookie("language", "en")
    assert language_of(client, header="de") == "en"
    assert language_of(client, "/flowers?lang=de", header="en") == "de"
    assert language_of(client, header="en") == "de"  # remembered


@pytest.mark.parametrize("unknown", ["xx", "", "DE", "de;", "../de", "\u4e2d"])
def test_an_unknown_language_is_ignored(client: FlaskClient, unknown: str) -> None:
    response = client.get("/flowers", query_string={"lang": unknown}, headers=GERMAN)
    assert response.status_code == 200
    assert response.headers["Content-Language"] == "de"
    assert "Set-Cookie" not in response.headers
    client.set_cookie("language", unknown)
    assert language_of(client, header="de") == "de"


@pytest.mark.parametrize(
    "path", ["/", "/flowers", "/flowers/21-fire-lily", "/about", "/about/model", "/nowhere"]
)
def test_every_page_remembers_the_choice_in_a_cookie(client: FlaskClient, path: str) -> None:
    response = client.get(path, query_string={"lang": "de"}, headers=BROWSER)
    assert response.headers["Content-Language"] == "de"
    (cookie,) = response.headers.getlist("Set-Cookie")
    value, *attributes = cookie.split("; ")
    assert value == "language=de"
    assert {"HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=31536000"} <= set(attributes)
    assert "Secure" not in attributes
    assert not response.cache_control.public
    assert response.cache_control.private or response.cache_control.no_store


def test_no_other_request_sets_the_cookie(client: FlaskClient, photo: bytes) -> None:
    client.get("/?lang=de", headers=BROWSER)
    for response in (
        client.get("/", headers=BROWSER),
        client.post("/", **form(photo)),
        client.get("/labels?lang=de"),
        client.get("/docs?lang=de", headers=BROWSER),
        client.get("/manifest.webmanifest?lang=de"),
    ):
        assert "Set-Cookie" not in response.headers


def test_the_cookie_belongs_to_the_mounted_service_and_to_https(make_app: MakeApp) -> None:
    client = make_app(proxy_count=1).test_client()
    headers = {**BROWSER, "X-Forwarded-Prefix": "/garden", "X-Forwarded-Proto": "https"}
    cookie = client.get("/flowers?lang=de", headers=headers).headers["Set-Cookie"]
    assert {"Path=/garden/", "Secure"} <= set(cookie.split("; "))


def test_caches_keep_the_languages_apart(client: FlaskClient) -> None:
    tags = {}
    for language in ("en", "de"):
        client.set_cookie("language", language)
        response = client.get("/flowers", headers=BROWSER)
        assert {"accept-language", "cookie"} <= response.vary.as_set()
        assert response.cache_control.public
        tags[language] = response.headers["ETag"]
    assert tags["en"] != tags["de"]
    stale = client.get("/flowers", headers={**BROWSER, "If-None-Match": tags["en"]})
    assert stale.status_code == 200
    fresh = client.get("/flowers", headers={**BROWSER, "If-None-Match": tags["de"]})
    assert fresh.status_code == 304


def test_the_api_ignores_the_cookie(client: FlaskClient, photo: bytes) -> None:
    client.set_cookie("language", "de")
    response = client.post("/predict", **form(b"words"))
    assert "Content-Language" not in response.headers
    assert "Cookie" not in response.vary
    assert "Cookie" not in client.get("/flowers").vary


def test_each_page_links_to_itself_in_each_language(client: FlaskClient) -> None:
    query = "q=l%C3%AFly&colour=red"
    page = html.unescape(client.get(f"/flowers?{query}&lang=de", headers=BROWSER).text)
    links = LINK.findall(page)
    assert {code for _, code, *_ in links} == set(message_catalogs())
    assert [name for *_, name in links] == sorted(name for *_, name in links)
    for address, code, hreflang, current, name in links:
        assert code == hreflang
        assert bool(current) == (code == "de")
        assert name == message_catalogs()[code]["language.name"]
        assert address == f"?{query}&lang={code}"
        assert client.get(f"/flowers{address}").status_code == 200
    alternates = dict(ALTERNATE.findall(page))
    assert alternates.pop("x-default") == f"./flowers?{query}"
    assert alternates == {code: address for address, code, *_ in links}


def test_a_page_without_parameters_has_a_default_without_parameters(client: FlaskClient) -> None:
    for path, default in (("/", "./"), ("/flowers/21-fire-lily", "./21-fire-lily")):
        page = client.get(path, headers=BROWSER).text
        assert dict(ALTERNATE.findall(page))["x-default"] == default


def test_the_links_of_a_result_lead_to_the_start_page(client: FlaskClient, photo: bytes) -> None:
    page = client.post("/?lang=de", **form(photo), headers=BROWSER).text
    addresses = {address for address, *_ in LINK.findall(page)}
    assert addresses == {f"/?lang={code}" for code in message_catalogs()}


@pytest.mark.parametrize("path", ["//evil.example/x", "//evil.example", "/a//evil.example:80"])
def test_no_link_leads_to_a_host_in_the_path(client: FlaskClient, path: str) -> None:
    # The test client would take the host from the path.
    response = client.get("/", headers=BROWSER, environ_overrides={"PATH_INFO": path})
    assert response.status_code == 404
    page = response.text
    assert ALTERNATE.findall(page)
    addresses = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert not any(address.startswith("//") or "://" in address for address in addresses)


def test_the_english_documentation_has_no_language_links(client: FlaskClient) -> None:
    response = client.get("/docs?lang=de", headers=GERMAN)
    assert response.headers["Content-Language"] == "en"
    assert "Cookie" not in response.vary
    assert LINK.findall(response.text) == []
    assert ALTERNATE.findall(response.text) == []


def test_the_offline_page_links_to_the_page_that_it_replaces(client: FlaskClient) -> None:
    page = client.get("/offline", headers=BROWSER).text
    assert {address for address, *_ in LINK.findall(page)} == {
        f"?lang={code}" for code in message_catalogs()
    }
