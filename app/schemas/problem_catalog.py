"""Catalog of error codes: an example of each, and the OpenAPI responses for a set of codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final

from werkzeug.http import HTTP_STATUS_CODES

from app.http.content_negotiation import PROBLEM_JSON
from app.http.json_body import JsonObject
from app.http.problems import Code, ProblemDetails
from app.http.rate_limits import RATE_LIMIT_HEADERS
from app.schemas.examples import REQUEST_ID

_EXAMPLE_DETAILS: Final[dict[Code, str]] = {
    Code.BAD_REQUEST: "The form is empty, incomplete or malformed.",
    Code.INCOMPLETE_BODY: "The request ended before its body was complete; send it again.",
    Code.UNTRUSTED_HOST: "The Host 'other.example' is not in PETALSCOPE_TRUSTED_HOSTS.",
    Code.API_KEY_MISSING: "The request has no API key; send it as Authorization: Bearer KEY or as "
    "X-API-Key: KEY.",
    Code.API_KEY_INVALID: "The API key is not valid.",
    Code.CROSS_SITE_REQUEST: "Pages of 'https://other.example' may not send photos here; add that "
    "origin to PETALSCOPE_CORS_ORIGINS to let it use the API.",
    Code.NOT_FOUND: "There is no flower at '/flowers/0'; /flowers lists them all.",
    Code.FEEDBACK_NOT_FOUND: "There is no feedback with this code; it may be mistyped.",
    Code.TOO_LARGE: "The body is larger than the limit of 20 MiB.",
    Code.TOO_MANY_PARTS: "The form has more than 20 parts.",
    Code.TOO_MANY_PIXELS: "The photo has more than 100 megapixels; send a smaller one.",
    Code.UNSUPPORTED_TYPE: "The Content-Type 'text/plain' is not supported.",
    Code.UNSUPPORTED_ENCODING: "The Content-Encoding 'gzip' is not supported; send the body "
    "without one.",
    Code.UNSUPPORTED_FORMAT: "The file is a PDF; send a photo.",
    Code.NO_PHOTO: "The form has no field 'image'.",
    Code.EMPTY_PHOTO: "The file is empty; choose a photo.",
    Code.TOO_MANY_PHOTOS: "The form has 2 fields named 'image'; send one photo.",
    Code.DAMAGED_PHOTO: "The photo is damaged or incomplete; send the original file.",
    Code.TOO_SMALL: "The photo has 8 × 8 pixels; send a larger one.",
    Code.INVALID_PARAMETER: "The parameter top_k is '0'; it must be one whole number from 1 to "
    "102.",
    Code.EXPLAIN_UNSUPPORTED: "This model has no class activation maps. Remove the parameter "
    "explain.",
    Code.CONSENT_MISSING: "The feedback has a photo, but no consent to store it.",
    Code.OVERLOADED: "Too many photos are in flight; try again in a moment.",
    Code.DECODER_BUSY: "Other large photos are being decoded; try again in a moment.",
    Code.RATE_LIMITED: "You are sending photos too fast; wait and try again.",
    Code.INTERNAL_ERROR: "Something went wrong in the service; the log entry has the request ID.",
    Code.MODEL_FAILED: "The model failed and is restarting; try again in a moment.",
    Code.NOT_READY: "The service is shutting down, or its model failed.",
    Code.MODEL_STALLED: "The model hangs and the service is restarting; try again in a moment.",
    Code.SHUTTING_DOWN: "The service is shutting down; try again in a moment.",
    Code.OUT_OF_MEMORY: "The service is out of memory for this photo; try again in a moment.",
    Code.FEEDBACK_UNAVAILABLE: "Feedback cannot be stored right now; try again in a moment.",
    Code.FEEDBACK_FULL: "The space for feedback is used up; nothing was changed.",
    Code.TIMED_OUT: "The photo was not classified within 10 seconds; try again later.",
}

# Codes whose responses have Retry-After.
_RETRIED: Final = frozenset(
    {
        Code.OVERLOADED,
        Code.DECODER_BUSY,
        Code.RATE_LIMITED,
        Code.MODEL_STALLED,
        Code.SHUTTING_DOWN,
        Code.OUT_OF_MEMORY,
        Code.FEEDBACK_UNAVAILABLE,
    }
)


def problem_responses(codes: Iterable[Code]) -> JsonObject:
    """Return the OpenAPI error responses by status, each with an example per code."""
    in_order = [code for code in Code if code in set(codes)]
    return {
        str(status): _response(status, list(group))
        for status, group in groupby(in_order, key=lambda code: code.status)
    }


def _response(status: int, codes: list[Code]) -> JsonObject:
    content = {
        "schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"},
        "examples": {code.value: {"value": _example(code)} for code in codes},
    }
    response: JsonObject = {
        "description": f"{HTTP_STATUS_CODES[status]}: {', '.join(codes)}",
        "content": {PROBLEM_JSON: content},
    }
    headers = {}
    if _RETRIED.intersection(codes):
        headers["Retry-After"] = "Seconds to wait before a retry."
    if Code.RATE_LIMITED in codes:
        headers |= RATE_LIMIT_HEADERS
    if headers:
        response["headers"] = integer_headers(headers)
    return response


def integer_headers(descriptions: Mapping[str, str]) -> JsonObject:
    """Describe response headers whose values are integers.

    Args:
        descriptions: Description of each header by its name.
    """
    return {
        name: {"description": description, "schema": {"type": "integer"}}
        for name, description in descriptions.items()
    }


def _example(code: Code) -> JsonObject:
    return ProblemDetails.of(code, _EXAMPLE_DETAILS[code], REQUEST_ID).model_dump(mode="json")
