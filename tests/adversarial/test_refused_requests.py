"""Requests that gunicorn refuses before the app sees them, and hosts that clients choose."""

from __future__ import annotations

from typing import Final

import pytest

from app.http.security_headers import SECURITY_HEADERS
from tests.adversarial.attacked_service import AttackedService, assert_problem

REFUSED: Final = {
    "one word": (b"GARBAGE\r\n\r\n", 400),
    "a header without a name": (b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a negative length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
    "a long path": (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 100_000), 414),
    "200 headers": (b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % (b"X-A: y\r\n" * 200), 431),
    "a header of 10 kB": (b"GET / HTTP/1.1\r\nX-A: %s\r\n\r\n" % (b"y" * 10_000), 431),
    "an unknown expectation": (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: miracle\r\n\r\n", 417),
    "no host": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
}
# A fragment of the detail by status.
CAUSES: Final = {400: "", 414: "URL", 417: "100-continue", 431: "headers"}


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_a_problem_with_the_security_headers(
    service: AttackedService, request_bytes: bytes, status: int
) -> None:
    reply = service.send(request_bytes)
    assert reply.status == status
    assert_problem(reply)
    assert reply.json["code"] == "bad_request"
    assert CAUSES[status] in reply.json["detail"]
    assert reply.headers["X-Request-ID"] == reply.json["request_id"]
    assert reply.headers["Cache-Control"] == "no-store"
    for name, value in SECURITY_HEADERS.items():
        assert reply.headers[name] == value


def test_an_unknown_transfer_coding_is_not_implemented(service: AttackedService) -> None:
    reply = service.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n")
    assert reply.status in (400, 501)
    assert_problem(reply)


@pytest.mark.parametrize(
    "path", ["/flowers/21", "/flowers//21", "//flowers/21", "//evil.example/", "/v1//flowers"]
)
def test_no_redirect_uses_the_host_of_the_client(service: AttackedService, path: str) -> None:
    reply = service.send(
        f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode()
    )
    assert reply.status in (308, 404)
    if reply.status == 308:
        assert reply.headers["Location"].startswith("/flowers/21-")
