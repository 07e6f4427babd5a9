"""Kinds of requests whose line is bad or odd: its method, its address, its query."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from tests.adversarial.kinds import TAKEN, Kind, file, post
from tests.adversarial.requests import ANY, BROKEN, by_server

PHOTO: Final = file("JPEG")
WRONG_ADDRESS: Final = frozenset({404})
WRONG_METHOD: Final = frozenset({405})
OUT_OF_RANGE: Final = frozenset({422})


def addresses() -> Iterator[Kind]:
    for make in (_queries, _methods, _addresses, _accepted):
        yield from make()


def _queries() -> Iterator[Kind]:
    wrong = ("", "0", "103", "-1", "+5", "5.0", "1e1", "0x5", "abc", "%00", "5%00", "%EF%BC%95")
    for value in (*wrong, "9" * 3000, "5%0d%0aX:y", "%ff", "%zz", "[]", "5,5", "NaN", "%D9%A5"):
        target = f"/predict?top_k={value}"
        yield Kind(f"top_k of {value[:20]!r}", partial(post, PHOTO, target=target), OUT_OF_RANGE)
    for value in ("", "2", "-1", "true", "yes", "01", "0%00", "null", "x" * 3000):
        target = f"/predict?explain={value}"
        yield Kind(f"explain of {value[:20]!r}", partial(post, PHOTO, target=target), OUT_OF_RANGE)
    for query in ("top_k=5&top_k=5", "explain=1&explain=0", "&".join(["top_k=1"] * 400)):
        target = f"/predict?{query}"
        yield Kind(f"the query {query[:30]}", partial(post, PHOTO, target=target), OUT_OF_RANGE)
    for query in ("top_k=102&explain=1", "top_k=1", "TOP_K=0", "a=b;c=d&&&=&?", "x[]=1", "%"):
        target = f"/predict?{query}"
        yield Kind(f"the query {query}", partial(post, PHOTO, target=target), TAKEN)
    yield Kind(
        "a query of 3,900 bytes", partial(post, PHOTO, target="/predict?" + "a" * 3900), TAKEN
    )
    for size in (5_000, 100_000):
        yield by_server(f"a query of {size} bytes", post(PHOTO, target="/predict?" + "a" * size))


def _methods() -> Iterator[Kind]:
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "PURGE"):
        sent = partial(post, PHOTO, method=method)
        yield Kind(f"the method {method}", sent, WRONG_METHOD)
    for method in ("post", "CONNECT", "POST\t", "P(ST", "X" * 100, "É", "POST POST"):
        yield by_server(f"the method {method[:20]!r}", post(PHOTO, method=method), BROKEN)
    yield Kind("the method OPTIONS", partial(post, b"", method="OPTIONS"), TAKEN)
    yield by_server("the method HEAD", post(PHOTO, method="HEAD"), WRONG_METHOD)


def _addresses() -> Iterator[Kind]:
    for target in (
        "/predict/",
        "/predict%00",
        "/PREDICT",
        "/%70redict/x",
        "/predict.json",
        "/x" * 99,
    ):
        yield Kind(f"the address {target[:20]}", partial(post, PHOTO, target=target), WRONG_ADDRESS)
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
        yield Kind(f"the address {target[:30]}", read, WRONG_ADDRESS | {400, 308})
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
        yield Kind(f"a search for {query[:20]!r}", read, TAKEN | {400, 422})
    for target in (
        "http://localhost/predict",
        "//predict",
        "/predict#top",
        "predict",
        "*",
        "?",
        "/./x",
    ):
        yield by_server(f"the address {target}", post(PHOTO, target=target), ANY)


def _accepted() -> Iterator[Kind]:
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
        yield Kind(f"an answer as {accept[:20]!r}", refused, frozenset({415}), as_page=True)
