"""The description of the API is a valid one, and what the service does is what it says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from app.http.api_version import API_PREFIX
from tests.app.conftest import MakeApp, form

# Pages, and what describes itself.
NOT_API = {
    "/static/<path:filename>",
    "/docs",
    "/openapi.json",
    "/manifest.webmanifest",
    "/offline",
    "/service-worker.js",
}
FORM_OF_PAGE = ("/", "post")
PAGE = {"Accept": "text/html"}


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    described: dict[str, Any] = client.get("/openapi.json").get_json()
    return described


def closed(schema: Any) -> Any:
    """The same schema, to which an object with a property more than it lists does not conform."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(item) for name, item in schema.items()}
    if "properties" in schema and "required" in schema:
        inner["additionalProperties"] = False
    return inner


def check(document: dict[str, Any], schema: Any, value: Any) -> None:
    whole = {**closed(schema), "components": closed(document["components"])}
    Draft202012Validator(whole).validate(value)


def examples(content: dict[str, Any]) -> list[Any]:
    """The examples of one media type."""
    if "example" in content:
        return [content["example"]]
    return [item["value"] for item in content["examples"].values()]


def responses(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Each (path, status, content of one media type)."""
    return [
        (path, status, content)
        for path, operations in document["paths"].items()
        for operation in operations.values()
        for status, response in operation["responses"].items()
        for content in response.get("content", {}).values()
    ]


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_each_example_is_of_its_schema(document: dict[str, Any]) -> None:
    found = responses(document)
    assert len(found) > 15
    for _, status, content in found:
        for example in examples(content):
            check(document, content["schema"], example)
            if isinstance(example, dict):
                assert example.get("status") in (int(status), None, "alive", "ready")


def test_every_route_is_described_and_no_other(app: Flask, document: dict[str, Any]) -> None:
    routes = {
        (re.sub(r"<\w+>", "{}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule not in NOT_API and not rule.rule.startswith(API_PREFIX)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {
        (re.sub(r"{\w+}", "{}", path), method)
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert described == routes - {FORM_OF_PAGE}


@pytest.mark.parametrize(
    "path",
    ["/", "/labels", "/model", "/flowers", "/flowers?q=lily", "/flowers/21-fire-lily", "/healthz"],
)
def test_what_is_got_is_as_described(
    client: FlaskClient, document: dict[str, Any], path: str
) -> None:
    response = client.get(path, headers={"Accept": "application/json"})
    assert response.status_code == 200
    name = path.partition("?")[0].replace("21-fire-lily", "{slug}")
    described = document["paths"][name]["get"]["responses"]["200"]["content"]["application/json"]
    check(document, described["schema"], response.get_json())


@pytest.mark.parametrize("query", ["", "?top_k=2", "?explain=1"])
def test_an_answer_about_a_photo_is_as_described(
    client: FlaskClient, document: dict[str, Any], photo: bytes, query: str
) -> None:
    described = document["paths"]["/predict"]["post"]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    for arguments in (form(photo), {"data": photo, "content_type": "image/jpeg"}):
        check(document, schema, client.post(f"/predict{query}", **arguments).get_json())
        kind = str(arguments["content_type"]).partition(";")[0].replace("jpeg", "*")
        assert kind in described["requestBody"]["content"]


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (400, {"data": b"", "content_type": "multipart/form-data"}),
        (403, {"headers": {"Sec-Fetch-Site": "cross-site", "Origin": "https://other.example"}}),
        (413, {"data": bytes(2**20 + 1), "content_type": "image/png"}),
        (415, form(b"%PDF-1.7 words")),
        (422, {"query_string": {"top_k": "0"}}),
    ],
)
def test_a_refusal_is_as_described(
    make_app: MakeApp, status: int, arguments: dict[str, Any]
) -> None:
    client = make_app(max_body_mib=1).test_client()
    document = client.get("/openapi.json").get_json()
    described = document["paths"]["/predict"]["post"]["responses"][str(status)]
    content = described["content"]["application/problem+json"]
    response = client.post("/predict", **arguments)
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    check(document, content["schema"], response.get_json())
    assert response.get_json()["code"] in content["examples"]


def test_it_names_the_limits_of_this_service(make_app: MakeApp) -> None:
    client = make_app(max_body_mib=7).test_client()
    post = client.get("/openapi.json").get_json()["paths"]["/predict"]["post"]
    assert "7 MiB" in post["description"]
    (top_k,) = [item for item in post["parameters"] if item["name"] == "top_k"]
    assert top_k["schema"]["maximum"] == 6


def test_it_says_where_the_service_is_mounted(client: FlaskClient) -> None:
    response = client.get("/openapi.json", environ_overrides={"SCRIPT_NAME": "/flowers-of/mine"})
    assert response.get_json()["servers"] == [
        {"url": "/flowers-of/mine/v1"},
        {"url": "/flowers-of/mine"},
    ]


def test_its_page_shows_every_operation_and_can_send_a_photo(
    client: FlaskClient, document: dict[str, Any], photo: bytes
) -> None:
    page = client.get("/docs", headers=PAGE).text
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in page
    for _, status, _content in responses(document):
        assert f"<code>{status}</code>" in page
    sent = re.search(
        r'<form class="picker" method="post" action="([^"]+)" enctype="multipart/form-data">', page
    )
    assert sent
    assert client.post(sent[1], **form(photo), headers=PAGE).status_code == 200
