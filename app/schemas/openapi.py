"""OpenAPI 3.1 document of the API, served at /openapi.json and rendered at /docs."""

from __future__ import annotations

from typing import Any, Final

from app.context import AppContext
from app.http.api_version import API_PREFIX
from app.http.content_negotiation import PROBLEM_JSON
from app.http.problems import Code
from app.http.uploads import MALFORMED_FORM, PHOTO_FIELD
from app.inference.pipeline import DEFAULT_TOP_K
from app.schemas.models import EXAMPLES, SCHEMAS, Json, problem_example, ref
from app.schemas.serialization import MAX_COMBINED_PHOTOS
from model import __version__
from model.imaging.formats import FORMAT_NAMES

_JSON: Final = "application/json"
_PAGE: Final = "text/html"
_PHOTO_TYPES: Final = ("image/*", "application/octet-stream")


def describe_api(service: AppContext, root: str = "") -> Json:
    """Return the OpenAPI document of a service.

    Args:
        service: Source of the limits in the document.
        root: Path under which the service is mounted, without a trailing slash.
    """
    mount = {"url": root or "/"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Petalscope",
            "version": __version__,
            "summary": "Names the flower in a photo.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root + API_PREFIX}, mount],
        "paths": {
            # / exists only without the version prefix.
            "/": {
                "get": {
                    **_get("about", "Return the URLs of the routes", "About", page=True),
                    "servers": [mount],
                }
            },
            "/predict": {"post": _predict(service)},
            "/labels": {"get": _get("labels", "List the classes of the model", "Labels")},
            "/model": {"get": _get("model", "Return the model's metadata", "Model")},
            "/flowers": {"get": _flowers()},
            "/flowers/{flower}": {"get": _flower()},
            "/healthz": {
                "get": _get(
                    "healthz", "Check that the process is alive", "Status", _status("alive")
                )
            },
            "/readyz": {"get": _readyz()},
        },
        "components": {"schemas": SCHEMAS},
    }


def _predict(service: AppContext) -> Json:
    settings, classes = service.settings, len(service.classifier.metadata.classes)
    photo = {"type": "string", "contentMediaType": "application/octet-stream"}
    photos = {"type": "array", "items": photo, "minItems": 1, "maxItems": MAX_COMBINED_PHOTOS}
    # Query parameters are strings, so the JSON type boolean does not fit 0 and 1.
    boolean: Json = {"type": "string", "enum": ["0", "1", "true", "false"], "default": "0"}
    parameters: dict[str, tuple[str, Json]] = {
        "top_k": (
            "Number of predictions.",
            {
                "type": "integer",
                "minimum": 1,
                "maximum": classes,
                "default": min(DEFAULT_TOP_K, classes),
            },
        ),
        "explain": ("Add an activation map to each prediction.", boolean),
        "combine": (
            f"Combine up to {MAX_COMBINED_PHOTOS} photos of one plant, each a file "
            f"'{PHOTO_FIELD}' of the form; `photos` has the result of each.",
            boolean,
        ),
    }
    form = {
        "schema": {
            "type": "object",
            "properties": {
                PHOTO_FIELD: photos,
                **{
                    name: {**schema, "description": text}
                    for name, (text, schema) in parameters.items()
                },
            },
            "required": [PHOTO_FIELD],
        },
        "encoding": {PHOTO_FIELD: {"contentType": "image/*"}},
    }
    limit = f"{FORMAT_NAMES}, of up to {settings.max_body_mib} MiB"
    return {
        "operationId": "predict",
        "summary": "Name the flower in a photo",
        "description": f"Send the photo as the file '{PHOTO_FIELD}' of a form or as the body: "
        f"{limit}, "
        f"{settings.max_megapixels} megapixels, and {settings.min_side} pixels a side at least.",
        "parameters": [_parameter(name, *values) for name, values in parameters.items()],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": form,
                **{kind: {"schema": photo} for kind in _PHOTO_TYPES},
            },
        },
        "responses": {
            "200": _answer("The likeliest names", "Answer"),
            **_problems(
                {
                    Code.BAD_REQUEST: MALFORMED_FORM,
                    Code.API_KEY_MISSING: "The request has no API key; send it as Authorization: "
                    "Bearer KEY or as X-API-Key: KEY.",
                    Code.CROSS_SITE_REQUEST: "Pages of 'https://other.example' may not send photos "
                    "here; add that origin to PETALSCOPE_CORS_ORIGINS to let it use the API.",
                    Code.TOO_LARGE: f"The body has 99,999,999,999 bytes; the limit is "
                    f"{settings.max_body_bytes:,} bytes ({settings.max_body_mib} MiB).",
                    Code.UNSUPPORTED_FORMAT: f"The file is a PDF; send a {FORMAT_NAMES} photo.",
                    Code.INVALID_PARAMETER: "The parameter top_k is '0'; it must be one whole "
                    f"number from 1 to {classes}.",
                    Code.OVERLOADED: f"All {settings.max_in_flight} places are taken by other "
                    "photos; try again in a moment.",
                    Code.MODEL_FAILED: "The model failed, and is being started anew; try again.",
                    Code.SHUTTING_DOWN: "The service is stopping and takes no more photos; try "
                    "again.",
                    Code.TIMED_OUT: f"The photo was not done in the "
                    f"{settings.request_timeout_seconds:g} "
                    "seconds it has.",
                },
                retried=(429, 503),
            ),
        },
    }


def _flowers() -> Json:
    query = _parameter(
        "q",
        "Search terms; each matches the start of a word of a name or family, in any language.",
        {"type": "string"},
    )
    return {
        **_get("flowers", "List or search the flowers", "Flowers", page=True),
        "parameters": [query],
    }


def _flower() -> Json:
    described = _get("flower", "Return one flower", "Flower", page=True)
    described["parameters"] = [
        {
            "name": "flower",
            "in": "path",
            "required": True,
            "description": "Class id, alone or with the name: 18-peruvian-lily.",
            "schema": {"type": "string"},
            "example": "18-peruvian-lily",
        }
    ]
    described["responses"] |= {
        "308": {
            "description": "Canonical URL of the flower",
            "headers": {"Location": {"schema": {"type": "string"}}},
        },
        **_problems(
            {Code.NOT_FOUND: "There is no flower at '/flowers/0'; /flowers lists them all."}
        ),
    }
    return described


def _readyz() -> Json:
    described = _get("readyz", "Check that photos are accepted", "Status", _status("ready"))
    described["responses"] |= _problems(
        {Code.NOT_READY: "The service is stopping, or its model failed."}
    )
    return described


def _get(
    operation: str, summary: str, schema: str, example: Json | None = None, *, page: bool = False
) -> Json:
    """Return a GET operation without error responses; `page` adds text/html."""
    answer = _answer(f"{schema}, as JSON", schema, example)
    if page:
        answer["description"] += "; an HTML page for Accept: text/html"
        answer["content"][_PAGE] = {"schema": {"type": "string"}, "example": "<!doctype html> …"}
    return {"operationId": operation, "summary": summary, "responses": {"200": answer}}


def _status(text: str) -> Json:
    return {"status": text}


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _answer(description: str, schema: str, example: Any = None) -> Json:
    content = {"schema": ref(schema), "example": example or EXAMPLES[schema]}
    return {"description": description, "content": {_JSON: content}}


def _problems(details: dict[Code, str], retried: tuple[int, ...] = ()) -> Json:
    """Return error responses, one per status, from example details by code."""
    responses: Json = {}
    for code, detail in details.items():
        example = problem_example(code, detail)
        response: Json = {
            "description": example["title"],
            "content": {PROBLEM_JSON: {"schema": ref("Problem"), "example": example}},
        }
        if code.status in retried:
            wait = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            response["headers"] = {"Retry-After": wait}
        responses[str(code.status)] = response
    return responses
