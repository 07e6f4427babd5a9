"""The request ID, shown in the X-Request-ID header, the log line and error responses."""

from __future__ import annotations

import random
import re
from typing import Final

from flask import g, request

REQUEST_ID_HEADER: Final = "X-Request-ID"
REQUEST_ID_PATTERN: Final = r"[A-Za-z0-9._-]{1,64}"
_SAFE_ID: Final = re.compile(REQUEST_ID_PATTERN)


def is_request_id(text: str) -> bool:
    """Return True if a text can be a request ID: 1 to 64 letters, digits and `.`, `_`, `-`."""
    return _SAFE_ID.fullmatch(text) is not None


def request_id() -> str:
    """Return the current request's ID: the client's X-Request-ID if it is safe, or a new one."""
    if "request_id" not in g:
        given = request.headers.get(REQUEST_ID_HEADER, "")
        # The ID is no secret, and os.urandom would release the GIL on each request.
        g.request_id = given if is_request_id(given) else f"{random.getrandbits(128):032x}"
    return str(g.request_id)
