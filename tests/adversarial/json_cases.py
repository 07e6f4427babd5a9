"""Photos as JSON, in valid, invalid and unusual documents, and photos that were sent as text."""

from __future__ import annotations

from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from tests.adversarial.cases import (
    ACCEPTED,
    DAMAGED,
    EITHER,
    LARGE,
    MIB,
    REFUSED,
    UNSUPPORTED,
    Case,
    file,
    post,
    upload,
)

PHOTO: Final = file("JPEG")
TEXT: Final = b64encode(PHOTO)
JSON: Final = "application/json"


def json_cases() -> Iterator[Case]:
    for cases in (_documents, _texts):
        yield from cases()


def _documents() -> Iterator[Case]:
    accepted = {
        "a photo": b'{"image": "%s"}' % TEXT,
        "a data URL": b'{"image": "data:image/jpeg;base64,%s"}' % TEXT,
        "escaped slashes": b'{"image": "%s"}' % TEXT.replace(b"/", b"\\/"),
        "lines": b'{"image": "%s"}' % encodebytes(PHOTO).replace(b"\n", b"\\n"),
        "the URL-safe alphabet": b'{"image": "%s"}' % urlsafe_b64encode(PHOTO),
        "parameters": b'{"image": "%s", "top_k": 2, "explain": false}' % TEXT,
        "two photos": b'{"image": ["%s", "%s"], "combine": true}' % (TEXT, TEXT),
        "spaces": b' {\t"image" :\r\n"%s" } ' % TEXT + b" " * MIB,
    }
    for what, body in accepted.items():
        yield Case(f"JSON of {what}", partial(post, body, JSON), ACCEPTED)
    refused = {
        "nothing": b"",
        "a brace": b"{",
        "no members": b"{}",
        "null": b"null",
        "a photo's bytes": PHOTO,
        "a photo's bytes in a string": b'{"image": "%s"}' % PHOTO,
        "the member twice": b'{"image": "%s", "image": "%s"}' % (TEXT, TEXT),
        "an unknown member": b'{"image": "%s", "x": 1}' % TEXT,
        "a URL": b'{"image": "http://localhost:8000/static/icon.png"}',
        "a file URL": b'{"image": "file:///etc/passwd"}',
        "half a surrogate": b'{"image": "\\ud800"}',
        "half a surrogate elsewhere": b'{"image": "%s", "\\ud800": "\\udfff"}' % TEXT,
        "half a surrogate instead of a number": b'{"image": "%s", "top_k": "\\udfff"}' % TEXT,
        "a NUL": b'{"image": "\\u0000"}',
        "an infinite number": b'{"image": "%s", "top_k": Infinity}' % TEXT,
        "100,000 open brackets": b"[" * 100_000,
        "100,000 open braces": b'{"image":' * 100_000,
        "an empty data URL": b'{"image": "data:;base64,"}',
    }
    for what, body in refused.items():
        yield Case(f"JSON of {what}", partial(post, body, JSON), REFUSED)
    large: dict[str, Callable[[], bytes]] = {
        "a name of 30 MiB": lambda: b'{"image": "%s", "%s": 1}' % (TEXT, b"top_k " * 5 * MIB),
        "30 MiB of umlauts": lambda: (
            b'{"image": "%s", "x": "%s"}' % (TEXT, "ü".encode() * 15 * MIB)
        ),
        "a number of a million digits": lambda: b'{"top_k": %s}' % (b"9" * MIB),
        "eight million lists": lambda: b"[" + b"[]," * 8 * MIB + b"[]]",
        "six million members": lambda: b"{" + b'"":0,' * 6 * MIB + b'"":0}',
        "padding only": lambda: b'{"image": "%s"}' % (b"=" * 30 * MIB),
        "30 MiB of spaces in a string": lambda: b'{"image": "%s"}' % (b" " * 30 * MIB),
        "a long type in a data URL": lambda: b'{"image": "data:%s,"}' % (b";base64" * 4 * MIB),
    }
    for what, build in large.items():
        yield Case(f"JSON of {what}", partial(_post, build), REFUSED)
    above = partial(_post, lambda: b'{"image": "%s"}' % (b"A" * 33 * MIB))
    yield Case("JSON above the limit", above, LARGE)
    for charset in ("utf-16", "utf-32"):
        body = f'{{"image": "{TEXT.decode()}"}}'.encode(charset)
        yield Case(f"JSON in {charset}", partial(post, body, JSON), EITHER)


def _post(build: Callable[[], bytes]) -> bytes:
    return post(build(), JSON)


def _texts() -> Iterator[Case]:
    for name in ("JPEG", "PNG", "WEBP", "GIF", "AVIF"):
        data = file(name)
        yield upload(f"{name} as base64 text", b64encode(data), UNSUPPORTED)
        yield upload(f"{name} converted to UTF-8", data.decode(errors="replace").encode(), DAMAGED)
        yield upload(
            f"{name} converted from Latin-1 to UTF-8", data.decode("latin-1").encode(), DAMAGED
        )
    yield upload("30 MiB converted to UTF-8", lambda: b"\0" + b"\xef\xbf\xbd" * 10 * MIB, DAMAGED)
    yield upload("a JPEG XL codestream", b"\xff\x0a" + PHOTO[2:], UNSUPPORTED)
