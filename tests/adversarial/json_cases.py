"""Photos as JSON, in valid, invalid and unusual documents, and photos that were sent as text."""

from __future__ import annotations

from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Iterator
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
        "a NUL": b'{"image": "\\u0000"}',
        "an infinite number": b'{"image": "%s", "top_k": Infinity}' % TEXT,
        "a number of a million digits": b'{"top_k": %s}' % (b"9" * MIB),
        "100,000 open brackets": b"[" * 100_000,
        "100,000 open braces": b'{"image":' * 100_000,
        "eight million lists": b"[" + b"[]," * (8 * MIB) + b"[]]",
        "eight million members": b"{" + b'"":0,' * (5 * MIB) + b'"":0}',
        "padding only": b'{"image": "%s"}' % (b"=" * MIB),
        "30 MiB of spaces in a string": b'{"image": "%s"}' % (b" " * 30 * MIB),
        "an empty data URL": b'{"image": "data:;base64,"}',
        "a long type in a data URL": b'{"image": "data:%s,"}' % (b";base64" * MIB),
    }
    for what, body in refused.items():
        yield Case(f"JSON of {what}", partial(post, body, JSON), REFUSED)
    yield Case(
        "JSON above the limit", partial(post, b'{"image": "%s"}' % (b"A" * 33 * MIB), JSON), LARGE
    )
    for charset in ("utf-16", "utf-32"):
        body = f'{{"image": "{TEXT.decode()}"}}'.encode(charset)
        yield Case(f"JSON in {charset}", partial(post, body, JSON), EITHER)


def _texts() -> Iterator[Case]:
    for name in ("JPEG", "PNG", "WEBP", "GIF", "AVIF"):
        data = file(name)
        yield upload(f"{name} as base64 text", b64encode(data), UNSUPPORTED)
        yield upload(f"{name} converted to UTF-8", data.decode(errors="replace").encode(), DAMAGED)
        yield upload(
            f"{name} converted from Latin-1 to UTF-8", data.decode("latin-1").encode(), DAMAGED
        )
    yield upload("a JPEG XL codestream", b"\xff\x0a" + PHOTO[2:], UNSUPPORTED)
