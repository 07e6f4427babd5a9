"""Problem details: the errors that reach a client (RFC 9457), and their codes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import Field
from werkzeug.http import HTTP_STATUS_CODES

from app.http.json_body import JsonBody


class Code(StrEnum):
    """Machine-readable reason for an error, with its HTTP status.

    Clients and translations depend on codes: a code stays the same when its detail text changes.

    400 means that the HTTP request itself is malformed. 422 means that the request is well-formed,
    but a parameter or the photo cannot be used.
    """

    status: int

    def __new__(cls, code: str, status: int) -> Code:
        """Create a member from `(code, status)`."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.status = status
        return member

    BAD_REQUEST = "bad_request", 400
    INCOMPLETE_BODY = "incomplete_body", 400
    UNTRUSTED_HOST = "untrusted_host", 400
    API_KEY_MISSING = "api_key_missing", 401
    API_KEY_INVALID = "api_key_invalid", 401
    CROSS_SITE_REQUEST = "cross_site_request", 403
    NOT_FOUND = "not_found", 404
    FEEDBACK_NOT_FOUND = "feedback_not_found", 404
    METHOD_NOT_ALLOWED = "method_not_allowed", 405
    TOO_LARGE = "too_large", 413
    TOO_MANY_PARTS = "too_many_parts", 413
    TOO_MANY_PIXELS = "too_many_pixels", 413
    UNSUPPORTED_TYPE = "unsupported_type", 415
    UNSUPPORTED_ENCODING = "unsupported_encoding", 415
    UNSUPPORTED_FORMAT = "unsupported_format", 415
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable", 416
    NO_PHOTO = "no_photo", 422
    EMPTY_PHOTO = "empty_photo", 422
    TOO_MANY_PHOTOS = "too_many_photos", 422
    DAMAGED_PHOTO = "damaged_photo", 422
    TOO_SMALL = "too_small", 422
    INVALID_PARAMETER = "invalid_parameter", 422
    EXPLAIN_UNSUPPORTED = "explain_unsupported", 422
    CONSENT_MISSING = "consent_missing", 422
    OVERLOADED = "overloaded", 429
    DECODER_BUSY = "decoder_busy", 429
    RATE_LIMITED = "rate_limited", 429
    INTERNAL_ERROR = "internal_error", 500
    MODEL_FAILED = "model_failed", 500
    NOT_READY = "not_ready", 503
    MODEL_STALLED = "model_stalled", 503
    SHUTTING_DOWN = "shutting_down", 503
    OUT_OF_MEMORY = "out_of_memory", 503
    FEEDBACK_UNAVAILABLE = "feedback_unavailable", 503
    TIMED_OUT = "timed_out", 504
    FEEDBACK_FULL = "feedback_full", 507


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """An error returned to the client (RFC 9457).

    Attributes:
        code: Machine-readable reason.
        status: HTTP status of the code, 400 to 599.
        detail: One or two sentences that name the cause and the remedy. Never contains the text of
            a foreign exception, a path or a traceback.
        headers: Extra response headers, such as Retry-After.
    """

    def __init__(self, code: Code, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.status = code.status
        self.detail = detail
        self.headers = dict(headers or {})


class ProblemDetails(JsonBody):
    """An error (RFC 9457)."""

    type: Literal["about:blank"]
    title: str = Field(description="Reason phrase of the HTTP status.")
    status: int = Field(ge=400, le=599, description="HTTP status.")
    code: str = Field(
        description="Stable error code for programs; later versions may add codes.",
        examples=list(Code),
    )
    detail: str = Field(description="Cause and remedy, for people; the text may change.")
    request_id: str = Field(description="Request ID; use it to find the log entry.")

    @classmethod
    def of(cls, code: Code, detail: str, request_id: str) -> ProblemDetails:
        """Return the details of an error; its code determines status and title."""
        return cls(
            type="about:blank",
            title=HTTP_STATUS_CODES[code.status],
            status=code.status,
            code=code,
            detail=detail,
            request_id=request_id,
        )


def quoted(text: str, length: int = 60) -> str:
    """Quote client input for a detail: truncate to `length`, escape control characters."""
    return repr(text if len(text) <= length else f"{text[:length]}…")
