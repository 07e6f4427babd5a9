"""A refusal: what every error of the service is until it is rendered as a page or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Code(StrEnum):
    """What was wrong, in one word for programs, and the HTTP status it has.

    Programs and translations go by these: a code stays as it is, whatever its sentence becomes.
    """

    status: int

    def __new__(cls, code: str, status: int) -> Code:
        """Make a member of `(code, status)`."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.status = status
        return member

    BAD_REQUEST = "bad_request", 400
    UNKNOWN_HOST = "unknown_host", 400
    INCOMPLETE_BODY = "incomplete_body", 400
    NO_PHOTO = "no_photo", 400
    EMPTY_PHOTO = "empty_photo", 400
    TOO_MANY_PHOTOS = "too_many_photos", 400
    DAMAGED_PHOTO = "damaged_photo", 400
    KEY_NEEDED = "key_needed", 401
    WRONG_KEY = "wrong_key", 401
    CROSS_SITE = "cross_site", 403
    NOT_FOUND = "not_found", 404
    METHOD_NOT_ALLOWED = "method_not_allowed", 405
    TOO_LARGE = "too_large", 413
    TOO_MANY_PARTS = "too_many_parts", 413
    TOO_MANY_PIXELS = "too_many_pixels", 413
    UNSUPPORTED_TYPE = "unsupported_type", 415
    UNSUPPORTED_FORMAT = "unsupported_format", 415
    BAD_RANGE = "bad_range", 416
    BAD_PARAMETER = "bad_parameter", 422
    CANNOT_EXPLAIN = "cannot_explain", 422
    TOO_SMALL = "too_small", 422
    QUEUE_FULL = "queue_full", 429
    DECODING_FULL = "decoding_full", 429
    RATE_LIMITED = "rate_limited", 429
    INTERNAL_ERROR = "internal_error", 500
    MODEL_FAILED = "model_failed", 500
    NOT_READY = "not_ready", 503
    STOPPING = "stopping", 503
    OUT_OF_MEMORY = "out_of_memory", 503
    TIMED_OUT = "timed_out", 504


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """A request that is not answered as it hoped.

    Attributes:
        code: What was wrong, for programs.
        status: HTTP status, 400 to 599; the code's.
        detail: One sentence or two for the client: the limit, what was got, what would be right.
            Never the text of an exception that is not ours, a path or a trace.
        headers: Headers of the answer, such as Retry-After.
    """

    def __init__(self, code: Code, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.status = code.status
        self.detail = detail
        self.headers = dict(headers or {})


def quoted(text: str, length: int = 60) -> str:
    """Quote what a client sent for use in a detail: cut to `length`, control characters escaped."""
    return repr(text if len(text) <= length else f"{text[:length]}…")
