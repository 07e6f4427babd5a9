"""The API described: for programs as OpenAPI 3.1, and for people as a page made of the same.

settings, classes -> describe_api -> /openapi.json
                                  -> docs.html at /docs
"""

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
from model.imaging.decode import FORMAT_NAMES

_JSON: Final = "application/json"
_PAGE: Final = "text/html"
_PHOTO_TYPES: Final = ("image/*", "application/octet-stream")


def describe_api(service: AppContext, root: str = "") -> Json:
    """Return the OpenAPI document of a service.

    Args:
        service: Whose limits it names.
        root: The path below which the service is mounted, without a slash at its end.
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
            # Below the first version there is no page, and so no such address.
            "/": {
                "get": {
                    **_get("about", "Tell where the routes are", "About", page=True),
                    "servers": [mount],
                }
            },
            "/predict": {"post": _predict(service)},
            "/labels": {"get": _get("labels", "List the classes of the model", "Labels")},
            "/model": {"get": _get("model", "Tell all that the model says about itself", "Model")},
            "/flowers": {"get": _flowers()},
            "/flowers/{flower}": {"get": _flower()},
            "/healthz": {
                "get": _get("healthz", "Tell that the process lives", "Status", _status("alive"))
            },
            "/readyz": {"get": _readyz()},
        },
        "components": {"schemas": SCHEMAS},
    }


def _predict(service: AppContext) -> Json:
    settings, classes = service.settings, len(service.classifier.metadata.classes)
    photo = {"type": "string", "contentMediaType": "application/octet-stream"}
    photos = {"type": "array", "items": photo, "minItems": 1, "maxItems": MAX_COMBINED_PHOTOS}
    form = {
        "schema": {
            "type": "object",
            "properties": {PHOTO_FIELD: photos},
            "required": [PHOTO_FIELD],
        },
        "encoding": {PHOTO_FIELD: {"contentType": "image/*"}},
    }
    limit = f"{FORMAT_NAMES}, of up to {settings.max_body_mib} MiB"
    return {
        "operationId": "predict",
        "summary": "Name the flower in a photo",
        "description": f"The photo is the file '{PHOTO_FIELD}' of a form, or the body itself: "
        f"{limit}, "
        f"{settings.max_megapixels} megapixels, and {settings.min_side} pixels a side at least.",
        "parameters": [
            _parameter(
                "top_k",
                "How many names.",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": classes,
                    "default": min(DEFAULT_TOP_K, classes),
                },
            ),
            _parameter(
                "explain",
                "1 for an activation map with each name.",
                {"type": "integer", "enum": [0, 1], "default": 0},
            ),
            _parameter(
                "combine",
                f"1 for one answer to up to {MAX_COMBINED_PHOTOS} photos of one plant, each a file "
                f"'{PHOTO_FIELD}' of the form; `photos` has the result of each.",
                {"type": "integer", "enum": [0, 1], "default": 0},
            ),
        ],
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
        "q", "Words that begin words of a name, of any language, or family.", {"type": "string"}
    )
    return {
        **_get("flowers", "List or search the flowers", "Flowers", page=True),
        "parameters": [query],
    }


def _flower() -> Json:
    described = _get("flower", "Tell what is known of one flower", "Flower", page=True)
    described["parameters"] = [
        {
            "name": "flower",
            "in": "path",
            "required": True,
            "description": "Its class id, or class id and name: 18-peruvian-lily.",
            "schema": {"type": "string"},
            "example": "18-peruvian-lily",
        }
    ]
    described["responses"] |= {
        "308": {
            "description": "The flower's own address",
            "headers": {"Location": {"schema": {"type": "string"}}},
        },
        **_problems(
            {Code.NOT_FOUND: "There is no flower at '/flowers/0'; /flowers lists them all."}
        ),
    }
    return described


def _readyz() -> Json:
    described = _get("readyz", "Tell whether photos are taken", "Status", _status("ready"))
    described["responses"] |= _problems(
        {Code.NOT_READY: "The service is stopping, or its model failed."}
    )
    return described


def _get(
    operation: str, summary: str, schema: str, example: Json | None = None, *, page: bool = False
) -> Json:
    """Describe a GET that cannot be refused; where it is a `page` too, that is for browsers."""
    answer = _answer(f"{schema}, as JSON", schema, example)
    if page:
        answer["description"] += "; a page for those who ask for text/html"
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
    """Describe refusals, one a status: the code and the detail of an example."""
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
