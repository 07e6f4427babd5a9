"""Petalscope from Python: one file to copy, for Python 3.11 and newer with `pip install httpx2`.

    from petalscope_client import Client

    with Client("http://localhost:8000") as petalscope:
        answer = petalscope.predict("photo.jpg")
        print(answer.verdict, answer.best.name, answer.best.probability)

    async with AsyncClient("http://localhost:8000") as petalscope:
        answer = await petalscope.predict(photo_bytes, top_k=3)

Where the service has no room (429) or is stopping (503), a request is sent again after as many
seconds as the service asks for. A refusal is raised as `PetalscopeError`, a failure of the network
as `httpx2.TransportError`.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar
from urllib.parse import quote

import httpx2

Photo = bytes | str | PathLike[str]
"""A photo's bytes, or the path of its file: JPEG, PNG, WebP, GIF, AVIF or BMP."""

_RETRIED: Final = (429, 503)
_T = TypeVar("_T")


class PetalscopeError(Exception):
    """The service refused, or could not do, what it was asked (RFC 9457).

    Attributes:
        status: The HTTP status, 400 to 599.
        title: The status in words.
        detail: What was wrong and what would be right, for people.
        request_id: By which the service's log tells more; None where something before the service
            answered.
        retry_after: Seconds after which it may be tried again; None where nothing was said.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after


@dataclass(frozen=True)
class Prediction:
    """One name for a photo.

    Attributes:
        class_id: Of the class, "18".
        name: Its common name as the data set spells it, "peruvian lily".
        display_name: Its common name as people write it, "Peruvian lily".
        probability: In [0, 1].
        scientific_name: Where one is certain.
        activation_map: A transparent PNG to lay over the upright photo, where `explain` asked.
    """

    class_id: str
    name: str
    display_name: str
    probability: float
    scientific_name: str | None = None
    activation_map: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Model:
    """Which model answered."""

    architecture: str
    checkpoint: str
    version: str


@dataclass(frozen=True)
class Answer:
    """What a photo was taken for.

    Attributes:
        predictions: The likeliest first.
        verdict: "unknown" where the photo may show none of the flowers that the model knows,
            "unsure" where no name is likelier than all others together, else "known".
        known: Whether the score reaches the threshold; None, as both, for a model without one.
        known_score: How much the photo looks like one of the classes.
        known_threshold: The least score of a known photo.
        model: Which model answered.
        request_id: By which the service's log tells more.
    """

    predictions: tuple[Prediction, ...]
    verdict: Literal["known", "unsure", "unknown"]
    known: bool | None
    known_score: float | None
    known_threshold: float | None
    model: Model
    request_id: str

    @property
    def best(self) -> Prediction:
        """The likeliest name."""
        return self.predictions[0]


@dataclass(frozen=True)
class Label:
    """One class of the model."""

    class_id: str
    name: str


@dataclass(frozen=True)
class Flower:
    """One class and what is known of it.

    Attributes:
        class_id: Of the class, "18".
        name: The common name as the model gives it, "peruvian lily".
        display_name: As people write it, "Peruvian lily".
        scientific_name: As narrow as is certain; None where nothing is.
        rank: "species", "genus", "hybrid", "cultivar", or "uncertain" without scientific name.
        family: In Latin; None where nothing is known of the class.
        synonyms: Other scientific names.
        other_names: Other common names.
        note: Where the name misleads; may be empty.
        address: Of its page, below the service's own.
    """

    class_id: str
    name: str
    display_name: str
    scientific_name: str | None
    rank: str
    family: str | None
    synonyms: tuple[str, ...]
    other_names: tuple[str, ...]
    note: str
    address: str


@dataclass(frozen=True)
class _Call(Generic[_T]):
    """A request, and what its answer is read by."""

    method: str
    path: str
    parse: Callable[[Any], _T]
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


@dataclass(frozen=True)
class _Retries:
    """How often a request is sent again, and how long at most it waits for that each time."""

    count: int
    longest_wait: float

    def wait(self, response: httpx2.Response, sent: int) -> float | None:
        """Return the seconds to wait before it is sent again, None where it is not."""
        if response.status_code not in _RETRIED or sent > self.count:
            return None
        asked = _retry_after(response)
        wait = 2.0 ** (sent - 1) if asked is None else asked
        return wait if wait <= self.longest_wait else None


class Client:
    """Petalscope, asked by blocking calls; may be shared by threads.

    Args:
        address: Of the service, such as "https://flowers.example.org".
        timeout: Seconds in which each step of a request must be done.
        retries: How often a request is sent again after 429 or 503.
        longest_wait: Seconds; where the service asks for more, its refusal is raised at once.
        http: A client of your own, for proxies or certificates; you close it.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        longest_wait: float = 30.0,
        http: httpx2.Client | None = None,
    ) -> None:
        self._address = address.rstrip("/")
        self._timeout = timeout
        self._retries = _Retries(retries, longest_wait)
        self._http = http or httpx2.Client()
        self._owns_http = http is None

    def predict(self, photo: Photo, *, top_k: int | None = None, explain: bool = False) -> Answer:
        """Name the flower in a photo.

        Args:
            photo: Its bytes, or the path of its file.
            top_k: How many names, 5 by default.
            explain: Whether each name gets its activation map.

        Raises:
            OSError: The file cannot be read.
            PetalscopeError: The service refused.
            httpx2.TransportError: The service cannot be reached.
        """
        return self._send(_predict(_bytes_of(photo), top_k, explain))

    def flowers(self, query: str = "") -> list[Flower]:
        """List the flowers that the model knows, or those whose names `query` finds."""
        return self._send(_flowers(query))

    def flower(self, class_id: str) -> Flower:
        """Tell what is known of one class."""
        return self._send(_flower(class_id))

    def labels(self) -> list[Label]:
        """List the classes in the order of the model's logits."""
        return self._send(_labels())

    def model(self) -> dict[str, Any]:
        """Tell all that the checkpoint says about itself."""
        return self._send(_model())

    def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, call: _Call[_T]) -> _T:
        sent = 0
        while True:
            response = self._http.request(**_arguments(self._address, call, self._timeout))
            sent += 1
            wait = self._retries.wait(response, sent)
            if wait is None:
                return call.parse(_checked(response))
            time.sleep(wait)


class AsyncClient:
    """Petalscope, asked by `await`; see `Client`."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        longest_wait: float = 30.0,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._address = address.rstrip("/")
        self._timeout = timeout
        self._retries = _Retries(retries, longest_wait)
        self._http = http or httpx2.AsyncClient()
        self._owns_http = http is None

    async def predict(
        self, photo: Photo, *, top_k: int | None = None, explain: bool = False
    ) -> Answer:
        """Name the flower in a photo; see `Client.predict`."""
        data = await asyncio.to_thread(_bytes_of, photo)
        return await self._send(_predict(data, top_k, explain))

    async def flowers(self, query: str = "") -> list[Flower]:
        """List the flowers that the model knows, or those whose names `query` finds."""
        return await self._send(_flowers(query))

    async def flower(self, class_id: str) -> Flower:
        """Tell what is known of one class."""
        return await self._send(_flower(class_id))

    async def labels(self) -> list[Label]:
        """List the classes in the order of the model's logits."""
        return await self._send(_labels())

    async def model(self) -> dict[str, Any]:
        """Tell all that the checkpoint says about itself."""
        return await self._send(_model())

    async def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, call: _Call[_T]) -> _T:
        sent = 0
        while True:
            response = await self._http.request(**_arguments(self._address, call, self._timeout))
            sent += 1
            wait = self._retries.wait(response, sent)
            if wait is None:
                return call.parse(_checked(response))
            await asyncio.sleep(wait)


def _predict(data: bytes, top_k: int | None, explain: bool) -> _Call[Answer]:
    params = {}
    if top_k is not None:
        params["top_k"] = str(top_k)
    if explain:
        params["explain"] = "1"
    return _Call("POST", "/predict", _answer, params, data)


def _flowers(query: str) -> _Call[list[Flower]]:
    return _Call(
        "GET",
        "/flowers",
        lambda body: [_parsed(Flower, item) for item in body["flowers"]],
        {"q": query} if query else {},
    )


def _flower(class_id: str) -> _Call[Flower]:
    return _Call("GET", f"/flowers/{quote(class_id, safe='')}", lambda body: _parsed(Flower, body))


def _labels() -> _Call[list[Label]]:
    return _Call("GET", "/labels", lambda body: [_parsed(Label, item) for item in body["labels"]])


def _model() -> _Call[dict[str, Any]]:
    return _Call("GET", "/model", lambda body: dict(body))


def _bytes_of(photo: Photo) -> bytes:
    return photo if isinstance(photo, bytes) else Path(photo).read_bytes()


def _arguments(address: str, call: _Call[Any], timeout: float) -> dict[str, Any]:
    headers = {"Accept": "application/json"}
    if call.content is not None:
        headers["Content-Type"] = "application/octet-stream"  # the service looks for itself
    return {
        "method": call.method,
        "url": address + call.path,
        "params": dict(call.params),
        "content": call.content,
        "headers": headers,
        "timeout": timeout,
        "follow_redirects": call.method == "GET",
    }


def _checked(response: httpx2.Response) -> Any:
    """Return the JSON of an answer.

    Raises:
        PetalscopeError: The answer is a refusal, or none of the service's.
    """
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.status_code == 200 and isinstance(body, dict):
        return body
    told = body if isinstance(body, dict) else {}
    raise PetalscopeError(
        response.status_code,
        str(told.get("title") or response.reason_phrase),
        str(told.get("detail") or "The answer is none of Petalscope's."),
        told.get("request_id"),
        _retry_after(response),
    )


def _retry_after(response: httpx2.Response) -> float | None:
    """Read Retry-After: seconds, or the date until which to wait."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _answer(body: Mapping[str, Any]) -> Answer:
    return Answer(
        predictions=tuple(_prediction(item) for item in body["predictions"]),
        verdict=body["verdict"],
        known=body["known"],
        known_score=body["known_score"],
        known_threshold=body["known_threshold"],
        model=_parsed(Model, body["model"]),
        request_id=body["request_id"],
    )


def _prediction(item: Mapping[str, Any]) -> Prediction:
    picture = item.get("activation_map")
    return _parsed(
        Prediction,
        {
            **item,
            "activation_map": base64.b64decode(picture.partition(",")[2]) if picture else None,
        },
    )


def _parsed(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """Make a dataclass of an object; what a newer service says beyond it is left out."""
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in names
        }
    )
