"""OpenAPI operations of the API, by Flask endpoint: parameters, request bodies and responses."""

from __future__ import annotations

from typing import Final, get_args

from app.catalog.files import Colour
from app.catalog.flowers import families
from app.context import AppContext
from app.feedback.entry import CORRECTION_WORDS, RIGHT
from app.http.json_body import JSON, JsonBody, JsonObject
from app.http.parameters import BOOLEANS
from app.http.problems import Code
from app.http.rate_limits import RATE_LIMIT_HEADERS
from app.http.request_id import REQUEST_ID_PATTERN
from app.http.uploads import MULTIPART, PHOTO_FIELD
from app.inference.activation_overlays import MAX_EXPLAINED
from app.inference.pipeline import DEFAULT_TOP_K
from app.schemas import examples
from app.schemas.problem_catalog import integer_headers
from app.schemas.responses import MAX_COMBINED_PHOTOS
from model.imaging.formats import format_names

_PAGE: Final = "text/html"
_PHOTO_TYPES: Final = ("image/*", "application/octet-stream")
# Codes of every route that takes photos and parameters.
_PHOTO_CODES: Final = (
    Code.BAD_REQUEST,
    Code.INCOMPLETE_BODY,
    Code.CROSS_SITE_REQUEST,
    Code.TOO_LARGE,
    Code.TOO_MANY_PARTS,
    Code.TOO_MANY_PIXELS,
    Code.UNSUPPORTED_TYPE,
    Code.UNSUPPORTED_ENCODING,
    Code.UNSUPPORTED_FORMAT,
    Code.NO_PHOTO,
    Code.EMPTY_PHOTO,
    Code.TOO_MANY_PHOTOS,
    Code.DAMAGED_PHOTO,
    Code.TOO_SMALL,
    Code.INVALID_PARAMETER,
)
_PREDICT_CODES: Final = (
    *_PHOTO_CODES,
    Code.EXPLAIN_UNSUPPORTED,
    Code.OVERLOADED,
    Code.DECODER_BUSY,
    Code.RATE_LIMITED,
    Code.INTERNAL_ERROR,
    Code.MODEL_FAILED,
    Code.MODEL_STALLED,
    Code.SHUTTING_DOWN,
    Code.OUT_OF_MEMORY,
    Code.TIMED_OUT,
)
_FEEDBACK_CODES: Final = (
    *_PHOTO_CODES,
    Code.CONSENT_MISSING,
    Code.OVERLOADED,
    Code.DECODER_BUSY,
    Code.RATE_LIMITED,
    Code.INTERNAL_ERROR,
    Code.FEEDBACK_UNAVAILABLE,
    Code.TIMED_OUT,
    Code.FEEDBACK_FULL,
)
# Descriptions by name.
PREDICT_PARAMETERS: Final = {
    "top_k": "Number of predictions.",
    "explain": "Add an activation map to each prediction; `top_k` must then be at most "
    f"{MAX_EXPLAINED}.",
    "combine": f"Combine up to {MAX_COMBINED_PHOTOS} photos of one plant, each a file "
    f"'{PHOTO_FIELD}' of the form. The response lists the result of each photo as 'photos'.",
}
# Error codes by endpoint, besides those of access control.
ERROR_CODES: Final[dict[str, tuple[Code, ...]]] = {
    "api.predict": _PREDICT_CODES,
    "flowers.index": (Code.INVALID_PARAMETER,),
    "feedback.submit": _FEEDBACK_CODES,
    "feedback.delete": (
        Code.CROSS_SITE_REQUEST,
        Code.FEEDBACK_NOT_FOUND,
        Code.OVERLOADED,
        Code.FEEDBACK_UNAVAILABLE,
        Code.FEEDBACK_FULL,
    ),
    "flowers.flower": (Code.NOT_FOUND,),
    "health.readyz": (Code.NOT_READY, Code.MODEL_STALLED),
}


def describe_operations(service: AppContext) -> dict[str, JsonObject]:
    """Return the operation of each endpoint, without error responses.

    Args:
        service: Source of the limits and of the classes in the examples.
    """
    slug = examples.slug(service)
    flower = _get("flower", "Return one flower", examples.flower(service), page=True)
    flower["responses"]["308"] = {
        "description": "Redirect to the canonical URL of the flower",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
    flower["parameters"] = [
        {
            "name": "slug",
            "in": "path",
            "required": True,
            "description": f"Class ID, alone or with the name: {slug}.",
            "schema": {"type": "string"},
            "example": slug,
        }
    ]
    flowers = _get("flowers", "List or search the flowers", examples.flowers(service), page=True)
    flowers["parameters"] = [
        _query_parameter(
            "q",
            "Search terms; each matches the start of a word of a name or family, in any language. "
            "If nothing matches, similar words do.",
            {"type": "string"},
        ),
        _query_parameter(
            "family",
            "Scientific name of a family; empty for all.",
            {"type": "string", "enum": ["", *families(service.classifier.metadata.classes)]},
        ),
        _query_parameter(
            "colour",
            "Colour of the flower; empty for all.",
            {"type": "string", "enum": ["", *get_args(Colour)]},
        ),
    ]
    feedback = {} if service.feedback is None else _feedback(service)
    return {
        "pages.index": _get(
            "about", "Return the URLs of the routes", examples.SERVICE_INFO, page=True
        ),
        "api.predict": _predict(service),
        "api.labels": _get("labels", "List the classes of the model", examples.labels(service)),
        "api.model": _get("model", "Return the model's metadata", examples.model_metadata(service)),
        "flowers.index": flowers,
        "flowers.flower": flower,
        "health.healthz": _get("healthz", "Check that the process is alive", examples.ALIVE),
        "health.readyz": _get("readyz", "Check that photos are accepted", examples.READY),
        **feedback,
    }


def _predict(service: AppContext) -> JsonObject:
    settings = service.settings
    photo = {"type": "string", "contentMediaType": "application/octet-stream"}
    photos = {"type": "array", "items": photo, "minItems": 1, "maxItems": MAX_COMBINED_PHOTOS}
    parameters = _predict_parameters(len(service.classifier.metadata.classes))
    fields = {
        name: {**schema, "description": description}
        for name, (description, schema) in parameters.items()
    }
    form = {
        "schema": {
            "type": "object",
            "properties": {PHOTO_FIELD: photos, **fields},
            "required": [PHOTO_FIELD],
        },
        "encoding": {PHOTO_FIELD: {"contentType": "image/*"}},
    }
    return {
        "operationId": "predict",
        "summary": "Name the flower in a photo",
        "description": f"Send the photo as the file '{PHOTO_FIELD}' of a form, as the body, or in "
        "base64 as JSON. "
        f"Formats: {format_names(settings.heif)}. Limits: at most {settings.max_body_mib} MiB and "
        f"{settings.max_megapixels} megapixels, at least {settings.min_side} pixels a side.",
        "parameters": [_query_parameter(name, *values) for name, values in parameters.items()],
        "requestBody": {
            "required": True,
            "content": {
                MULTIPART: form,
                JSON: {"schema": _json_upload(parameters)},
                **{media_type: {"schema": photo} for media_type in _PHOTO_TYPES},
            },
        },
        "responses": {
            "200": {
                **_success("Most probable names", examples.classification_result(service)),
                "headers": integer_headers(RATE_LIMIT_HEADERS),
            },
        },
    }


def _feedback(service: AppContext) -> dict[str, JsonObject]:
    """Return the operations of the feedback."""
    class_ids = [item.class_id for item in service.classifier.metadata.classes]
    words = "; ".join(f"`{word}`: {meaning}" for word, meaning in CORRECTION_WORDS.items())
    fields: JsonObject = {
        "request_id": {
            "type": "string",
            "pattern": f"^{REQUEST_ID_PATTERN}$",
            "description": "`request_id` of the classification.",
        },
        "correction": {
            "type": "string",
            "enum": [*dict.fromkeys([*class_ids, *CORRECTION_WORDS])],
            "description": f"Class ID of the right flower, or a word. {words}.",
        },
        "predicted": {
            "type": "string",
            "enum": class_ids,
            "description": f"Class ID of the first prediction; required with `{RIGHT}`.",
        },
    }
    consent = "True if the visitor agreed that the photo is stored; required with a photo."
    photo = "Photo, if the visitor agreed. Its metadata is removed."
    file = {"type": "string", "contentMediaType": "application/octet-stream", "description": photo}
    base64 = {"type": "string", "contentEncoding": "base64", "description": photo}
    form = {
        PHOTO_FIELD: file,
        **fields,
        "consent": {"type": "string", "enum": list(BOOLEANS), "description": consent},
    }
    members = {
        PHOTO_FIELD: {**base64, "type": ["string", "null"]},
        **fields,
        "predicted": {
            **fields["predicted"],
            "type": ["string", "null"],
            "enum": [*class_ids, None],
        },
        "consent": {"type": ["boolean", "null"], "description": consent},
    }
    required = ["request_id", "correction"]
    submit: JsonObject = {
        "operationId": "submitFeedback",
        "summary": "Correct or confirm a classification",
        "description": "Store a correction and, with consent, the photo, so that a person can "
        "review it and the next model can learn from it.",
        "requestBody": {
            "required": True,
            "content": {
                MULTIPART: {
                    "schema": {"type": "object", "properties": form, "required": required},
                    "encoding": {PHOTO_FIELD: {"contentType": "image/*"}},
                },
                JSON: {
                    "schema": {
                        "type": "object",
                        "properties": members,
                        "required": required,
                        "additionalProperties": False,
                    }
                },
            },
        },
        "responses": {"200": _success("Deletion code", examples.FEEDBACK_RECEIPT)},
    }
    delete: JsonObject = {
        "operationId": "deleteFeedback",
        "summary": "Delete feedback and its photo",
        "parameters": [
            {
                "name": "code",
                "in": "path",
                "required": True,
                "description": "Deletion code of the feedback.",
                "schema": {"type": "string"},
                "example": examples.FEEDBACK_RECEIPT.deletion_code,
            }
        ],
        "responses": {"204": {"description": "Deleted"}},
    }
    return {"feedback.submit": submit, "feedback.delete": delete}


def _json_upload(parameters: dict[str, tuple[str, JsonObject]]) -> JsonObject:
    """Return the schema of a JSON body of /predict."""
    photo = {
        "type": "string",
        "contentEncoding": "base64",
        "description": "Photo in base64, or as a base64 data URL.",
    }
    photos = {"type": "array", "items": photo, "minItems": 1, "maxItems": MAX_COMBINED_PHOTOS}
    boolean = {"type": "boolean", "default": False}
    members = {
        name: {**(schema if name == "top_k" else boolean), "description": description}
        for name, (description, schema) in parameters.items()
    }
    return {
        "type": "object",
        "properties": {PHOTO_FIELD: {"anyOf": [photo, photos]}, **members},
        "required": [PHOTO_FIELD],
        "additionalProperties": False,
    }


def _predict_parameters(class_count: int) -> dict[str, tuple[str, JsonObject]]:
    """Return the description and the schema of each parameter of /predict."""
    top_k: JsonObject = {
        "type": "integer",
        "minimum": 1,
        "maximum": class_count,
        "default": min(DEFAULT_TOP_K, class_count),
    }
    # Query parameters are strings, so the JSON type boolean does not fit 0 and 1.
    boolean: JsonObject = {"type": "string", "enum": list(BOOLEANS), "default": "0"}
    return {
        name: (description, top_k if name == "top_k" else boolean)
        for name, description in PREDICT_PARAMETERS.items()
    }


def _get(operation_id: str, summary: str, example: JsonBody, *, page: bool = False) -> JsonObject:
    """Return a GET operation; `page` adds an HTML representation."""
    success = _success(f"{type(example).__name__} as JSON", example)
    if page:
        success["description"] += "; an HTML page for Accept: text/html"
        success["content"][_PAGE] = {"schema": {"type": "string"}, "example": "<!doctype html> …"}
    return {
        "operationId": operation_id,
        "summary": summary,
        "responses": {"200": success},
    }


def _query_parameter(name: str, description: str, schema: JsonObject) -> JsonObject:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _success(description: str, example: JsonBody) -> JsonObject:
    content = {
        "schema": {"$ref": f"#/components/schemas/{type(example).__name__}"},
        "example": example.model_dump(mode="json"),
    }
    return {"description": description, "content": {JSON: content}}
