"""OpenAPI 3.1 document of the API, served at /openapi.json and rendered at /docs."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from flask import current_app
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from werkzeug.routing import Rule

from app.context import AppContext
from app.http.api_version import API_PREFIX
from app.http.json_body import JsonObject
from app.http.problems import Code, ProblemDetails
from app.http.route_options import options_of
from app.schemas import responses
from app.schemas.operations import ERROR_CODES, describe_operations
from app.schemas.problem_catalog import problem_responses
from model import __version__

_RESPONSES: Final = (
    responses.ServiceInfo,
    responses.ClassificationResult,
    responses.Labels,
    responses.ModelMetadata,
    responses.Flowers,
    responses.FeedbackReceipt,
    responses.Status,
    ProblemDetails,
)
_ACCESS_CODES: Final = (Code.UNTRUSTED_HOST, Code.API_KEY_MISSING, Code.API_KEY_INVALID)


def describe_api(service: AppContext, root: str = "") -> JsonObject:
    """Return the OpenAPI document of the current app.

    Args:
        service: Source of the limits and of the classes in the examples.
        root: Path under which the service is mounted, without a trailing slash.
    """
    mount = {"url": root or "/"}
    rules = {rule.endpoint: rule for rule in current_app.url_map.iter_rules()}
    paths: JsonObject = {}
    for endpoint, operation in describe_operations(service).items():
        codes = ERROR_CODES.get(endpoint, ())
        if not options_of(current_app, endpoint).is_public:
            codes += _ACCESS_CODES
        operation["responses"] |= problem_responses(codes)
        rule = rules[endpoint]
        if not any(other.rule == API_PREFIX + rule.rule for other in rules.values()):
            operation["servers"] = [mount]
        paths.setdefault(_path(rule), {})[_method(rule)] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Petalscope",
            "version": __version__,
            "summary": "Names the flower in a photo.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root + API_PREFIX}, mount],
        "paths": paths,
        "components": {"schemas": _component_schemas()},
    }


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _method(rule: Rule) -> str:
    (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    return method.lower()


class _SchemaGenerator(GenerateJsonSchema):
    """JSON Schema without titles, which would only repeat the names of models and fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False."""
        return False


@cache
def _component_schemas() -> JsonObject:
    _, schema = models_json_schema(
        [(model, "serialization") for model in _RESPONSES],
        ref_template="#/components/schemas/{model}",
        schema_generator=_SchemaGenerator,
    )
    return dict(schema["$defs"])
