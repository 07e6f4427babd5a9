"""A refusal: what every error of the service is until it is rendered as a page or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# For people; programs get HTTP's own words, as RFC 9457 asks.
_TITLES: Final = {
    400: "This cannot be read",
    401: "A key is needed",
    403: "Not from another site",
    404: "No such page",
    405: "Not this way",
    413: "This is too large",
    415: "Not a photo we can read",
    422: "This does not fit",
    429: "Too busy right now",
    503: "Not ready",
    504: "This took too long",
}


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """A request that is not answered as it hoped.

    Attributes:
        status: HTTP status, 400 to 599.
        title: A few words for people.
        detail: One sentence or two for the client: the limit, what was got, what would be right.
            Never the text of an exception that is not ours, a path or a trace.
        headers: Headers of the answer, such as Retry-After.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.title = _TITLES.get(status, "Something went wrong")
        self.detail = detail
        self.headers = dict(headers or {})


def quoted(text: str, length: int = 60) -> str:
    """Quote what a client sent for use in a detail: cut to `length`, control characters escaped."""
    return repr(text if len(text) <= length else f"{text[:length]}…")
