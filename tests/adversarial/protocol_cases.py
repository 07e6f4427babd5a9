"""Requests that violate or strain HTTP itself: lengths, chunks, codings, headers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from tests.adversarial.cases import ACCEPTED, CLOSED, EITHER, REFUSED, Case, file, post

PHOTO: Final = file("JPEG")
ANY: Final = EITHER | {401, 403, 404, 405, 408, 411, 414, 417, 431, CLOSED}
BROKEN: Final = ANY - ACCEPTED


def protocol_cases() -> Iterator[Case]:
    for cases in (_lengths, _chunks, _codings, _headers, _injections, _lines):
        yield from cases()


def by_server(name: str, request: bytes, allowed: frozenset[int] = BROKEN) -> Case:
    """Build a case that gunicorn may refuse before the app sees it."""
    return Case(name, lambda: request, allowed, html_allowed=True)


def _lengths() -> Iterator[Case]:
    size = len(PHOTO)
    yield Case("a length that is too short", lambda: post(PHOTO, length=size - 99), REFUSED)
    yield Case("a length of zero", lambda: post(PHOTO, length=0), REFUSED)
    yield by_server("a length that is too long", post(PHOTO, length=size + 1))
    yield by_server("a length without a body", post(b"", length=size))
    yield Case("a length of 10 GB", lambda: post(PHOTO, length=10**10), frozenset({413}))
    yield Case("no length", lambda: post(PHOTO, length=None), REFUSED)
    for length in (
        "-5",
        "+5",
        "5,5",
        "0x10",
        "1e3",
        "５".encode().decode("latin-1"),
        "",
        "a",
        "1 1",
    ):
        yield by_server(f"a length of {length!r}", post(PHOTO, length=length))
    yield by_server("a length of 5,000 digits", post(PHOTO, length="9" * 5000))
    yield by_server("a length of 10³⁰", post(PHOTO, length=10**30), BROKEN | {413})
    twice = partial(post, PHOTO, length=size)
    yield by_server("two lengths that differ", twice(headers=["Content-Length: 5"]))
    yield by_server("the same length twice", twice(headers=[f"Content-Length: {size}"]), ANY)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def _chunks() -> Iterator[Case]:
    def sent(body: bytes, *headers: str) -> bytes:
        return post(body, length=None, headers=["Transfer-Encoding: chunked", *headers])

    pieces = [PHOTO[at : at + 1] for at in range(len(PHOTO))]
    yield Case("chunks of one byte", lambda: sent(chunked(*pieces)), ACCEPTED)
    yield Case("one chunk", lambda: sent(chunked(PHOTO)), ACCEPTED)
    whole = b"%x" % len(PHOTO)
    bodies = {
        "no chunk": chunked(),
        "a chunk with an extension": whole + b';a=b;c="d"\r\n' + PHOTO + b"\r\n0\r\n\r\n",
        "a chunk size with zeros": b"0" * 50 + whole + b"\r\n" + PHOTO + b"\r\n0\r\n\r\n",
        "an extension of 10 kB": whole + b";a=" + b"b" * 10_000 + b"\r\n" + PHOTO,
        "trailers": chunked(PHOTO, end=b"0\r\nX-Evil: 1\r\nContent-Length: 5\r\n\r\n"),
        "500 kB of trailers": chunked(PHOTO, end=b"0\r\n" + b"X-Evil: 1\r\n" * 50_000 + b"\r\n"),
        "no last chunk": chunked(PHOTO, end=b""),
        "a chunk cut short": b"ffff\r\n" + PHOTO[:100],
        "a chunk longer than it says": b"5\r\nabcdefgh\r\n0\r\n\r\n",
        "a chunk size of words": b"zz\r\n",
        "a chunk size below zero": b"-5\r\nabc\r\n",
        "a chunk size of nothing": b"\r\n\r\n",
        "a chunk size with a space": b"5 \r\nabcde\r\n0\r\n\r\n",
        "a chunk of 2⁶⁴ bytes": b"FFFFFFFFFFFFFFFF\r\nabc",
        "a chunk size of 8,000 digits": b"F" * 8000 + b"\r\nabc",
        "a chunk size without an end": b"1" * 50_000,
        "bare line feeds": b"5\nabcde\n0\n\n",
        "a pipelined request": chunked(PHOTO) + post(PHOTO),
    }
    for what, body in bodies.items():
        yield by_server(f"chunks with {what}", sent(body), ANY)
    yield by_server("chunks and a length", sent(chunked(PHOTO), "Content-Length: 5"))


def _codings() -> Iterator[Case]:
    codings = ("gzip", "identity", "xchunked", "chunked, chunked", "gzip, chunked", "chunked, gzip")
    for coding in (*codings, "", " ", "\x0bchunked", "CHUNKED", "chunked;q=1", "\xffchunked"):
        request = post(
            chunked(PHOTO), length=None, headers=[b"Transfer-Encoding: " + coding.encode("latin-1")]
        )
        # RFC 9112, section 6.1: 501 for an unknown coding.
        yield by_server(f"the coding {coding!r}", request, ANY | {501})
    twice = ["Transfer-Encoding: chunked"] * 2
    yield by_server("the coding twice", post(chunked(PHOTO), length=None, headers=twice), ANY)
    folded = ["Transfer-Encoding:\r\n chunked"]
    yield by_server("a folded coding", post(chunked(PHOTO), length=None, headers=folded), ANY)
    old = post(chunked(PHOTO), length=None, headers=twice[:1], version="HTTP/1.0")
    yield by_server("chunks in HTTP/1.0", old, ANY)
    for coding in ("gzip", "br", "x"):
        packed = partial(post, PHOTO, headers=[f"Content-Encoding: {coding}"])
        yield Case(f"a body said to be packed by {coding}", packed, EITHER)


def _headers() -> Iterator[Case]:
    many = [f"X-{number}: y" for number in range(90)]
    yield Case("90 headers", lambda: post(PHOTO, headers=many), ACCEPTED)
    yield by_server("200 headers", post(PHOTO, headers=["X-A: y"] * 200))
    yield by_server("a header of 10 kB", post(PHOTO, headers=["X-A: " + "y" * 10_000]))
    yield by_server("headers of 2 MB", post(PHOTO, headers=["X-A: " + "y" * 2_000_000]))
    yield Case(
        "a cookie of 8 kB", lambda: post(PHOTO, headers=["Cookie: a=" + "b" * 8000]), ACCEPTED
    )
    odd: dict[str, str | bytes] = {
        "without a colon": "X-Nonsense",
        "without a name": ": y",
        "with a space in its name": "X Y: z",
        "with a space before its colon": "X-A : y",
        "with a NUL": b"X-A: a\0b",
        "with a return": b"X-A: a\rb",
        "with a bare line feed": b"X-A: a\nX-B: c",
        "that is folded": b"X-A: a\r\n b",
        "with invalid bytes": b"X-A: \xff\xfe\x80",
        "of underscores": "Content_Length: 5",
        "as the method": "X-HTTP-Method-Override: DELETE",
        "for another host": "Host: evil.example",
        "of a host with a space": "Host: a b",
        "with an upgrade to HTTP/2": "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "with an upgrade to WebSocket": "Upgrade: websocket\r\nSec-WebSocket-Key: x",
        "that expects to go on": "Expect: 100-continue",
        "with an unknown expectation": "Expect: miracle",
        "of a range": "Range: bytes=0-5,1-2,99999999999999999999-",
        "of conditions": 'If-None-Match: "x", *\r\nIf-Modified-Since: never',
        "of a proxy": 'X-Forwarded-For: 1.2.3.4, ::1, x\r\nForwarded: for="\\',
        "of a prefix": "SCRIPT_NAME: /x\r\nX-Script-Name: ../..",
        "of another path": "PATH_INFO: /nowhere\r\nX-Original-URL: /nowhere",
        "of a key": "Authorization: Basic !!!!\r\nX-API-Key: \t",
    }
    for what, header in odd.items():
        yield by_server(f"a header {what}", post(PHOTO, headers=[header]), ANY)
    cross = partial(post, PHOTO, headers=["Origin: https://evil.example"])
    yield Case("another site's page", cross, frozenset({403}))


def _injections() -> Iterator[Case]:
    for value in (
        b"a\r\nSet-Cookie: x=1",
        b"a\nSet-Cookie: x=1",
        b"\0",
        b"x" * 5000,
        b"<script>",
        b'{"level":"critical"}',
        b"../../etc",
        b"\xf0\x9f\x8c\xb9",
        b"%0d%0aX: y",
    ):
        request = post(PHOTO, headers=[b"X-Request-ID: " + value])
        yield by_server(f"a request id of {value[:20]!r}", request, ANY)


def _lines() -> Iterator[Case]:
    lines = {
        "nothing": b"",
        "an empty line": b"\r\n\r\n",
        "a thousand empty lines": b"\r\n" * 1000,
        "one word": b"GARBAGE\r\n\r\n",
        "zeros": bytes(5000),
        "noise without lines": b"\x91" * 100_000,
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        "a proxy's line": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + post(PHOTO),
        "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/0.9": b"GET /\r\n\r\n",
        "no address": b"POST HTTP/1.1\r\n\r\n",
        "an address with spaces": b"GET /a b c HTTP/1.1\r\nHost: x\r\n\r\n",
        "an address of 100 kB": b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 100_000),
        "an address that is no text": b"GET /\xff\xfe HTTP/1.1\r\nConnection: close\r\n\r\n",
        "a head without an end": b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A: y",
        "bare line feeds": post(PHOTO).replace(b"\r\n", b"\n"),
    }
    for what, line in lines.items():
        yield by_server(f"a request of {what}", line, ANY)
    for version in ("HTTP/1.0", "HTTP/1.11", "HTTP/2.0", "HTTP/9.9", "http/1.1", "HTTP/1.1 x", "X"):
        yield by_server(f"the version {version}", post(PHOTO, version=version), ANY | {505})
