"""Responses to requests that gunicorn refuses, usually because they violate HTTP (RFC 9457)."""

from __future__ import annotations

from typing import Any

from werkzeug.http import HTTP_STATUS_CODES

from app.http.content_negotiation import PROBLEM_JSON
from app.http.problems import Code, ProblemDetails
from app.http.request_id import REQUEST_ID_HEADER
from app.http.security_headers import SECURITY_HEADERS


class CapturedResponse:
    """A stand-in for a client's socket that keeps the status of gunicorn's error page."""

    status = 500

    def gettimeout(self) -> float:
        """Return 0: the socket does not block."""
        return 0.0

    def sendall(self, data: bytes) -> None:
        """Keep the status of a response."""
        self.status = int(data.split(maxsplit=2)[1])


def problem_response(status: int, request_id: str, cfg: Any) -> bytes:
    """Return a complete HTTP response, which closes the connection.

    Args:
        status: HTTP status that gunicorn chose.
        request_id: ID under which the cause is logged.
        cfg: gunicorn's configuration, which has the limits.
    """
    title = HTTP_STATUS_CODES[status]
    problem = ProblemDetails(
        type="about:blank",
        title=title,
        status=status,
        code=Code.INTERNAL_ERROR if status == 500 else Code.BAD_REQUEST,
        detail=_detail(status, cfg),
        request_id=request_id,
    )
    body = problem.model_dump_json().encode()
    headers = {
        **SECURITY_HEADERS,
        "Cache-Control": "no-store",
        "Connection": "close",
        "Content-Length": str(len(body)),
        "Content-Type": PROBLEM_JSON,
        REQUEST_ID_HEADER: request_id,
    }
    lines = [f"HTTP/1.1 {status} {title}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def _detail(status: int, cfg: Any) -> str:
    match status:
        case 414:
            return (
                f"The URL is too long: the request line may have {cfg.limit_request_line:,} bytes."
            )
        case 417:
            return "The only supported Expect header is 100-continue."
        case 431:
            return (
                f"The headers are too large: the request may have {cfg.limit_request_fields} "
                f"headers of {cfg.limit_request_field_size:,} bytes."
            )
        case 500:
            return "Something went wrong on our side."
        case 501:
            return "The Transfer-Encoding is not supported; send chunked or a Content-Length."
    return "The request line, a header or the body's length violates HTTP."
