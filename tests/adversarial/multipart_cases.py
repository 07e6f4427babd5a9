"""Uploads with a valid photo in an invalid or unusual form."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from typing import Final

from tests.adversarial.cases import ACCEPTED, EITHER, REFUSED, Case, file, post

PHOTO: Final = file("JPEG")
B: Final = b"b0undary"
FORM: Final = b"multipart/form-data; boundary=" + B
NAMED: Final = b'form-data; name="image"; filename='


def part(disposition: bytes, data: bytes = PHOTO, *headers: bytes) -> bytes:
    lines = (b"--" + B, b"Content-Disposition: " + disposition, *headers, b"", data, b"")
    return b"\r\n".join(lines)


def multipart_cases() -> Iterator[Case]:
    for cases in (_file_names, _fields, _boundaries, _parts, _types):
        yield from cases()


def _form(
    name: str,
    body: bytes,
    allowed: frozenset[int],
    content_type: str | bytes = FORM,
    end: bytes = b"--" + B + b"--\r\n",
) -> Case:
    return Case(name, partial(post, body + end, content_type), allowed)


def _file_names() -> Iterator[Case]:
    names = {
        "plain": b'"photo.jpg"',
        "empty": b'""',
        "with parent folders": b'"../../../../etc/passwd"',
        "of a drive": b'"C:\\\\windows\\\\system32"',
        "of a device": b'"/dev/sda"',
        "with a NUL": b'"a\0b.jpg"',
        "with a tab and a bell": b'"a\t\a.jpg"',
        "with an escaped quote": b'"a\\"b.jpg"',
        "without a closing quote": b'"photo.jpg',
        "without quotes": b"photo.jpg",
        "in Chinese": '"花.jpg"'.encode(),
        "with a right-to-left override": '"\u202egpj.exe"'.encode(),
        "of a command": b'"$(reboot);`reboot`|reboot.jpg"',
        "of a page": b'"<script>alert(1)</script>"',
        "of SQL": b'"\'; DROP TABLE photos; --"',
        "of printf": b'"%s%s%n%n{0.__class__}${jndi:ldap://x}"',
        "encoded": b"\"x\"; filename*=UTF-8''%e8%8a%b1.jpg",
        "encoded badly": b"\"x\"; filename*=UTF-8''%zz%ff%",
        "in an unknown encoding": b"\"x\"; filename*=klingon''abc",
        "in RFC 2231 pieces": b'"x"; filename*0="a"; filename*1="b"; filename*9="z"',
        "given a hundred times": b'"x"' + b'; filename="y"' * 100,
    }
    for what, name in names.items():
        yield _form(f"a file name {what}", part(NAMED + name), EITHER)
    accepted = {
        "in Latin-1": b'"\xe9t\xe9.jpg"',
        "in GBK": '"花.jpg"'.encode("gbk"),
        "in Shift-JIS": '"花.jpg"'.encode("shift_jis"),
        "with a backslash at its end": '"表"'.encode("shift_jis"),
        "with invalid UTF-8": b'"\xff\xfe.jpg"',
    }
    for what, name in accepted.items():
        yield _form(f"a file name {what}", part(NAMED + name), ACCEPTED)
    yield _form("no file name", part(b'form-data; name="image"', file("BMP")), ACCEPTED)
    for size in (5_000, 60_000, 130_000, 400_000):
        yield _form(f"a file name of {size} bytes", part(NAMED + b'"%s"' % (b"x" * size)), EITHER)
    split = part(NAMED + b'"a\r\nX-Evil: 1\r\n\r\n.jpg"')
    yield _form("a file name with a line end", split, EITHER)


def _fields() -> Iterator[Case]:
    good = part(NAMED + b'"a.jpg"')
    text = part(b'form-data; name="title"', b"my garden")
    bad = {
        "no fields": b"",
        "only text": text,
        "the photo twice": good + good,
        "the photo and text of its name": good + part(b'form-data; name="image"', b"x"),
        "text instead of the photo": part(b'form-data; name="image"', b"x"),
        "an empty photo": part(NAMED + b'"a.jpg"', b""),
        "an empty input": part(NAMED + b'""', b""),
        "base64 text": part(b'form-data; name="image"', b64encode(PHOTO)),
        "a field of another name": part(b'form-data; name="file"; filename="a.jpg"'),
        "a field with brackets": part(b'form-data; name="image[]"; filename="a.jpg"'),
        "a field in capitals": part(b'form-data; name="IMAGE"; filename="a.jpg"'),
        "a field without a name": part(b'form-data; filename="a.jpg"'),
        "a field with a NUL": part(b'form-data; name="image\0"; filename="a.jpg"'),
        "a field name of 100 kB": part(b'form-data; name="%s"' % (b"x" * 100_000), b"x"),
        "200 kB of text": part(b'form-data; name="title"', b"x" * 200_000) + good,
        "5,000 texts": b"".join(part(b'form-data; name="t%d"' % n, b"x") for n in range(5000)),
        "5,000 photos": part(NAMED + b'"a.jpg"', b"x") * 5000,
    }
    for what, body in bad.items():
        yield _form(f"a form of {what}", body, REFUSED)
    yield _form("a form of a photo and text", text + good, ACCEPTED)
    empty = part(NAMED + b'""', b"")
    yield _form("a form of a photo and an empty input", good + empty + empty, ACCEPTED)
    yield _form("a form of a photo and a thousand kB elsewhere", good + text * 8, ACCEPTED)


def _boundaries() -> Iterator[Case]:
    good = part(NAMED + b'"a.jpg"')
    types = {
        "no boundary": b"multipart/form-data",
        "an empty boundary": b"multipart/form-data; boundary=",
        "another boundary": b"multipart/form-data; boundary=other",
        "a boundary of 5,000 bytes": b"multipart/form-data; boundary=" + b"x" * 5000,
        "a boundary with a line end": b'multipart/form-data; boundary="a\\r\\nb"',
        "a boundary with invalid bytes": b"multipart/form-data; boundary=\xff\xfe",
        "two boundaries": FORM + b"; boundary=other",
        "a boundary in quotes": b'multipart/form-data; boundary="%s"' % B,
        "the type in capitals": b"MULTIPART/FORM-DATA; BOUNDARY=" + B,
        "thousands of parameters": FORM + b"; a=b" * 1500,
    }
    for what, content_type in types.items():
        yield _form(f"a form with {what}", good, EITHER, content_type)
    yield _form("a form without an end", good, REFUSED, end=b"")
    yield _form("a form cut in its photo", good[:-200], REFUSED, end=b"")
    yield _form("a form cut in its head", good[:40], REFUSED, end=b"")
    yield _form("a form with data after its end", good, ACCEPTED, end=b"--b0undary--\r\n" + good)
    yield _form("100 kB before the form", b"x" * 100_000 + b"\r\n" + good, EITHER)
    yield _form("a megabyte of line ends before the form", b"\r\n" * 500_000 + good, EITHER)
    yield _form("a form of boundaries only", (b"--" + B + b"\r\n") * 20_000, REFUSED)
    yield _form(
        "a form of partial boundaries", part(NAMED + b'"a"', b"\r\n--b0un" * 99_999), REFUSED
    )
    yield _form("a form with bare line feeds", good.replace(b"\r\n", b"\n"), EITHER)
    yield _form("a form with bare returns", good.replace(b"\r\n", b"\r"), EITHER)
    inside = part(NAMED + b'"a.jpg"', PHOTO[:500] + b"\r\n--" + B + b"\r\n" + PHOTO[500:])
    yield _form("a form with its boundary in the photo", inside, REFUSED)


def _parts() -> Iterator[Case]:
    name = NAMED + b'"a.jpg"'
    nested = b"multipart/mixed; boundary=inner"
    deep = b"--inner\r\nContent-Type: multipart/mixed; boundary=inner\r\n\r\n" * 500
    yield _form("a form in a form", part(name, part(name) * 2, b"Content-Type: " + nested), EITHER)
    yield _form("500 nested forms", part(name, deep, b"Content-Type: " + nested), REFUSED)
    yield _form("a mixed body", part(name), REFUSED, b"multipart/mixed; boundary=" + B)
    yield _form("a part without headers", b"--" + B + b"\r\n\r\n" + PHOTO + b"\r\n", REFUSED)
    yield _form("a part with a line that is no header", part(name, PHOTO, b"nonsense"), EITHER)
    yield _form("a part with 1,000 headers", part(name, PHOTO, *[b"X: y"] * 1000), EITHER)
    yield _form("a part with 50,000 headers", part(name, PHOTO, *[b"X: y"] * 50_000), EITHER)
    encodings = (b"base64", b"quoted-printable", b"gzip", b"\0", b"x" * 5000)
    for encoding in encodings:
        header = b"Content-Transfer-Encoding: " + encoding
        yield _form(f"a part in {encoding[:20]!r}", part(name, PHOTO, header), EITHER)
    for length in (b"5", b"-1", b"99999999999999999999", b"many"):
        header = b"Content-Length: " + length
        yield _form(f"a part of {length.decode()} bytes", part(name, PHOTO, header), EITHER)
    for charset in (b"utf-16", b"idna", b"rot13", b"\0", b"../../etc"):
        header = b"Content-Type: text/plain; charset=" + charset
        body = part(b'form-data; name="title"', b"\xff\xfea\0", header) + part(name)
        yield _form(f"a text in {charset!r}", body, EITHER)
    body = part(b'form-data; name="_charset_"', b"utf-7") + part(name)
    yield _form("a form that names its encoding", body, ACCEPTED)


def _types() -> Iterator[Case]:
    yield Case("no type", lambda: post(PHOTO, None), REFUSED)
    yield Case("neither type nor body", lambda: post(b"", None), REFUSED)
    for kind in ("", "image", "image/", "/", ";", "*/*", "application/json", "text/plain", "a/b/c"):
        yield Case(f"the type {kind!r}", partial(post, PHOTO, kind), EITHER)
    fields = b"&".join(b"a%d=b" % number for number in range(20_000))
    for body in (b"image=x", fields, b"%" * 1000, b"=&" * 50_000):
        form = partial(post, body, "application/x-www-form-urlencoded")
        yield Case(f"a URL-encoded form: {body[:10]!r}", form, REFUSED)
    yield Case("a type of 5,000 bytes", partial(post, PHOTO, "image/" + "x" * 5000), EITHER)
    yield Case(
        "a content type with invalid bytes", partial(post, PHOTO, b"image/\xff\xfe\x80"), EITHER
    )
