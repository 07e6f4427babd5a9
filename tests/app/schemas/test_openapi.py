"""The OpenAPI document, and responses that must conform to it."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from app.http.api_version import API_PREFIX
from tests.app.conftest import MakeApp, form, multipart

# Pages, assets and the document itself.
NOT_API = {
    "/static/<path:filename>",
    "/style.css",
    "/docs",
    "/openapi.json",
    "/manifest.webmanifest",
    "/about",
    "/about/model",
    "/about/model/card",
    "/share",
    "/pictures/<file>",
    "/pictures/<file>/thumbnail",
    "/offline",
    "/service-worker.js",
}
FORM_OF_PAGE = ("/", "post")


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    body: dict[str, Any] = client.get("/openapi.json").get_json()
    return body


def closed(schema: Any) -> Any:
    """Forbid properties that an object schema does not list, at any depth."""
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
    """Return the examples of one media type."""
    if "example" in content:
        return [content["example"]]
    return [item["value"] for item in content["examples"].values()]


def responses(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (path, status, content) of each media type of each response."""
    return [
        (path, status, content)
        for path, operations in document["paths"].items()
        for operation in operations.values()
        for status, response in operation["responses"].items()
        for content in response.get("content", {}).values()
    ]


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_every_example_conforms_to_its_schema(document: dict[str, Any]) -> None:
    found = responses(document)
    assert len(found) > 15
    for _, status, content in found:
        for example in examples(content):
            check(document, content["schema"], example)
            if isinstance(example, dict):
                assert example.get("status") in (int(status), None, "alive", "ready")


def test_the_document_has_every_api_route_and_no_other(
    app: Flask, document: dict[str, Any]
) -> None:
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
def test_get_responses_conform(client: FlaskClient, document: dict[str, Any], path: str) -> None:
    response = client.get(path, headers={"Accept": "application/json"})
    assert response.status_code == 200
    name = path.partition("?")[0].replace("21-fire-lily", "{slug}")
    described = document["paths"][name]["get"]["responses"]["200"]["content"]["application/json"]
    check(document, described["schema"], response.get_json())


@pytest.mark.parametrize(
    "query", ["", "?top_k=2", "?explain=1", "?combine=1", "?combine=1&explain=1"]
)
def test_predict_responses_conform(
    client: FlaskClient, document: dict[str, Any], photo: bytes, query: str
) -> None:
    described = document["paths"]["/predict"]["post"]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    content = described["requestBody"]["content"]
    for arguments in (form(photo), {"data": photo, "content_type": "image/jpeg"}):
        check(document, schema, client.post(f"/predict{query}", **arguments).get_json())
        kind = str(arguments["content_type"]).partition(";")[0].replace("jpeg", "*")
        assert kind in content
    body = {"image": base64.b64encode(photo).decode()}
    check(document, schema, client.post(f"/predict{query}", json=body).get_json())
    check(document, content["application/json"]["schema"], body)


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (400, {"data": b"{", "content_type": "application/json"}),
        (403, {"headers": {"Sec-Fetch-Site": "cross-site", "Origin": "https://other.example"}}),
        (413, {"data": bytes(2**20 + 1), "content_type": "image/png"}),
        (415, form(b"%PDF-1.7 words")),
        (422, {"query_string": {"top_k": "0"}}),
    ],
)
def test_error_responses_conform(make_app: MakeApp, status: int, arguments: dict[str, Any]) -> None:
    client = make_app(max_body_mib=1).test_client()
    document = client.get("/openapi.json").get_json()
    described = document["paths"]["/predict"]["post"]["responses"][str(status)]
    content = described["content"]["application/problem+json"]
    response = client.post("/predict", **arguments)
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    check(document, content["schema"], response.get_json())
    assert response.get_json()["code"] in content["examples"]


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"top_k": 1, "explain": True, "combine": False}, 200),
        ({"top_k": 7}, 422),
        ({"explain": "true"}, 422),
        ({"topk": 1}, 422),
        ({"image": 5}, 422),
    ],
)
def test_the_document_describes_the_json_that_is_accepted(
    client: FlaskClient,
    document: dict[str, Any],
    photo: bytes,
    members: dict[str, Any],
    status: int,
) -> None:
    body = {"image": base64.b64encode(photo).decode(), **members}
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    assert client.post("/predict", json=body).status_code == status
    assert Draft202012Validator(schema).is_valid(body) is (status == 200)


def test_the_document_describes_the_headers_of_rate_limits(make_app: MakeApp, photo: bytes) -> None:
    client = make_app(rate_limits=("1/day",)).test_client()
    document = client.get("/openapi.json").get_json()
    described = document["paths"]["/predict"]["post"]["responses"]
    for status in ("200", "429"):
        response = client.post("/predict", **form(photo))
        headers = {name for name, _ in response.headers if name.startswith(("X-Rate", "Retry"))}
        assert str(response.status_code) == status
        assert set(described[status]["headers"]) == headers


def test_the_document_describes_feedback_if_it_is_on(
    make_app: MakeApp, tmp_path: Path, photo: bytes
) -> None:
    app = make_app(feedback_dir=tmp_path)
    client = app.test_client()
    document = client.get("/openapi.json").get_json()
    validate(document)
    submit, delete = (
        document["paths"][path][method]
        for path, method in (("/feedback", "post"), ("/feedback/{code}", "delete"))
    )
    for _, _, content in responses(document):
        for example in examples(content):
            check(document, content["schema"], example)
    form_schema = submit["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form_schema["properties"]["predicted"]["enum"] == [
        item["class_id"] for item in client.get("/labels").get_json()["labels"]
    ]
    json_schema = submit["requestBody"]["content"]["application/json"]["schema"]
    members = {"request_id": "1", "correction": "21", "predicted": None, "consent": None}
    check(document, json_schema, {**members, "image": None})
    assert client.post("/feedback", json={**members, "image": None}).status_code == 200
    assert set(json_schema["properties"]) == set(form_schema["properties"]) == {*members, "image"}
    assert json_schema["additionalProperties"] is False
    fields = {"request_id": "1", "predicted": "21", "consent": "true"}
    for correction in form_schema["properties"]["correction"]["enum"]:
        values = {**fields, "correction": correction}
        parts = [(name, None, text.encode()) for name, text in values.items()]
        response = client.post("/feedback", **multipart(*parts, ("image", "a.jpg", photo)))
        content = submit["responses"]["200"]["content"]["application/json"]
        check(document, content["schema"], response.get_json())
    code = response.get_json()["deletion_code"]
    assert str(client.delete(f"/feedback/{code}").status_code) in delete["responses"]
    missing = client.delete(f"/feedback/{code}")
    content = delete["responses"]["404"]["content"]["application/problem+json"]
    assert missing.get_json()["code"] in content["examples"]


def test_the_document_has_the_limits_of_the_service(make_app: MakeApp) -> None:
    client = make_app(max_body_mib=7).test_client()
    post = client.get("/openapi.json").get_json()["paths"]["/predict"]["post"]
    assert "7 MiB" in post["description"]
    (top_k,) = [item for item in post["parameters"] if item["name"] == "top_k"]
    assert top_k["schema"]["maximum"] == 6


def test_servers_include_the_mount_path(client: FlaskClient, document: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["/v1", "/"]
    response = client.get("/openapi.json", environ_overrides={"SCRIPT_NAME": "/flowers-of/mine"})
    assert response.get_json()["servers"] == [
        {"url": "/flowers-of/mine/v1"},
        {"url": "/flowers-of/mine"},
    ]


def test_the_document_accepts_the_parameters_of_the_service(
    client: FlaskClient, document: dict[str, Any], photo: bytes
) -> None:
    post = document["paths"]["/predict"]["post"]
    for parameter in post["parameters"]:
        values = parameter["schema"].get("enum") or [parameter["schema"]["default"]]
        for value in values:
            response = client.post(f"/predict?{parameter['name']}={value}", **form(photo))
            assert response.status_code == 200


def test_only_protected_routes_have_access_errors(document: dict[str, Any]) -> None:
    public = {"/healthz", "/readyz"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) is (path not in public)


def test_only_the_start_page_has_no_version(document: dict[str, Any]) -> None:
    unversioned = [
        path
        for path, operations in document["paths"].items()
        if any("servers" in operation for operation in operations.values())
    ]
    assert unversioned == ["/"]


def test_schemas_describe_every_property(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        for field, value in schema["properties"].items():
            assert "$ref" in value or "const" in value or value["description"], (name, field)


def test_a_key_that_may_be_absent_is_not_nullable(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, key in (("Prediction", "activation_map"), ("ClassificationResult", "photos")):
        assert key not in schemas[name]["required"]
        assert "null" not in str(schemas[name]["properties"][key].get("type"))
        assert "default" not in schemas[name]["properties"][key]
