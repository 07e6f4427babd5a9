"""Requests with an invalid or unusual method, path, query string or Accept header."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from tests.adversarial.cases import ACCEPTED, Case, file, post
from tests.adversarial.protocol_cases import ANY, BROKEN, by_server

PHOTO: Final = file("JPEG")
NOT_FOUND: Final = frozenset({404})
METHOD_NOT_ALLOWED: Final = frozenset({405})
UNPROCESSABLE: Final = frozenset({422})


def url_cases() -> Iterator[Case]:
    for cases in (_queries, _methods, _paths, _accepted):
        yield from cases()


def _queries() -> Iterator[Case]:
    wrong = ("", "0", "103", "-1", "+5", "5.0", "1e1", "0x5", "abc", "%00", "5%00", "%EF%BC%95")
    for value in (*wrong, "9" * 3000, "5%0d%0aX:y", "%ff", "%zz", "[]", "5,5", "NaN", "%D9%A5"):
        target = f"/predict?top_k={value}"
        yield Case(f"top_k of {value[:20]!r}", partial(post, PHOTO, target=target), UNPROCESSABLE)
    for value in ("", "2", "-1", "yes", "01", "0%00", "null", "x" * 3000):
        target = f"/predict?explain={value}"
        yield Case(f"explain of {value[:20]!r}", partial(post, PHOTO, target=target), UNPROCESSABLE)
    repeated = ("top_k=5&top_k=5", "explain=1&explain=0", "&".join(["top_k=1"] * 400))
    for query in (*repeated, "top_k=11&explain=1"):
        target = f"/predict?{query}"
        yield Case(f"the query {query[:30]}", partial(post, PHOTO, target=target), UNPROCESSABLE)
    for query in ("top_k=102", "top_k=10&explain=1", "top_k=1", "explain=true", "combine=false"):
        target = f"/predict?{query}"
        yield Case(f"the query {query}", partial(post, PHOTO, target=target), ACCEPTED)
    for query in ("TOP_K=0", "a=b;c=d&&&=&?", "x[]=1", "%", "a" * 3900):
        target = f"/predict?{query}"
        yield Case(f"the query {query[:30]}", partial(post, PHOTO, target=target), UNPROCESSABLE)
    for size in (5_000, 100_000):
        yield by_server(f"a query of {size} bytes", post(PHOTO, target="/predict?" + "a" * size))


def _methods() -> Iterator[Case]:
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "PURGE"):
        sent = partial(post, PHOTO, method=method)
        yield Case(f"the method {method}", sent, METHOD_NOT_ALLOWED)
    for method in ("post", "CONNECT", "POST\t", "P(ST", "X" * 100, "É", "POST POST"):
        yield by_server(f"the method {method[:20]!r}", post(PHOTO, method=method), BROKEN)
    yield Case("the method OPTIONS", partial(post, b"", method="OPTIONS"), ACCEPTED)
    yield by_server("the method HEAD", post(PHOTO, method="HEAD"), METHOD_NOT_ALLOWED)


def _paths() -> Iterator[Case]:
    for target in ("/predict/", "/v1/predict/"):
        yield Case(f"the path {target}", partial(post, PHOTO, target=target), ACCEPTED)
    for target in (
        "/predict//",
        "/predict%00",
        "/PREDICT",
        "/%70redict/x",
        "/predict.json",
        "/x" * 99,
    ):
        yield Case(f"the path {target[:20]}", partial(post, PHOTO, target=target), NOT_FOUND)
    for target in (
        "/static/../../README.md",
        "/static/..%2f..%2fREADME.md",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static//etc/passwd",
        "/static/\\..\\..\\README.md",
        "/static/%00",
        "/static/" + "x" * 3000,
        "/flowers/%00",
        "/flowers/" + "9" * 3000,
        "/flowers/-1",
        "/flowers/%ff",
        "/flowers/%EF%BC%91",
        "/flowers/1/../../x",
    ):
        read = partial(post, b"", None, method="GET", target=target)
        yield Case(f"the path {target[:30]}", read, NOT_FOUND | {400, 308})
    for query in (
        "",
        "%00",
        "%ff",
        "a" * 3000,
        "(" * 500,
        "%27%20OR%201=1",
        "\\",
        "*",
        "%F0%9F%8C%B9",
    ):
        read = partial(post, b"", None, method="GET", target=f"/flowers?q={query}")
        yield Case(f"a search for {query[:20]!r}", read, ACCEPTED | {400, 422})
    for target in (
        "http://localhost/predict",
        "//predict",
        "/predict#top",
        "predict",
        "*",
        "?",
        "/./x",
    ):
        yield by_server(f"the path {target}", post(PHOTO, target=target), ANY)


def _accepted() -> Iterator[Case]:
    for accept in (
        "",
        "text/html;q=x",
        "*/*;q=2",
        ",,,;;;",
        "a" * 5000,
        "text/html, " * 500,
        "\xff",
    ):
        refused = partial(post, b"words", headers=[b"Accept: " + accept.encode("latin-1")])
        yield Case(f"Accept: {accept[:20]!r}", refused, frozenset({415}), html_allowed=True)
