"""Petalscope from Python: one file to copy, for Python 3.11 and newer with `pip install httpx2`.

    from petalscope_client import Client

    with Client("http://localhost:8000") as petalscope:
        answer = petalscope.predict("photo.jpg")
        print(answer.verdict, answer.best.name, answer.best.probability)

    async with AsyncClient("http://localhost:8000") as petalscope:
        answer = await petalscope.combine(["leaf.jpg", "flower.jpg"], top_k=3)

Where the service has no room (429) or is stopping (503), a request is sent again after as many
seconds as the service asks for. A refusal is raised as `PetalscopeError`, a failure of the network
as `httpx2.TransportError`.

Each call is described once, below: what is sent, and what its answer is read by. The two clients
only send it, one blocking and one not.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from os import PathLike
from pathlib import Path
from typing import Any, Concatenate, Final, Generic, Literal, ParamSpec, Self, TypeVar
from urllib.parse import quote

import httpx2

Photo = bytes | str | PathLike[str]
"""A photo's bytes, or the path of its file: JPEG, PNG, WebP, GIF, AVIF or BMP."""

_RETRIED: Final = (429, 503)
_BYTES: Final = "application/octet-stream"  # the service looks for itself what a photo is
_P = ParamSpec("_P")
_T = TypeVar("_T")
_Http = TypeVar("_Http", httpx2.Client, httpx2.AsyncClient)


class PetalscopeError(Exception):
    """The service refused, or could not do, what it was asked (RFC 9457).

    Attributes:
        status: The HTTP status, 400 to 599.
        code: What was wrong, in one word that stays: "unsupported_format", "overloaded", …; None
            where something before the service answered.
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
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.code = code
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
        url: Path of the flower's page.
        scientific_name: Where one is certain.
        activation_map: A transparent PNG to lay over the upright photo, where `explain` asked.
        translations: In other languages, by their code: `translations["de"]["display_name"]`, None
            where no name is certain.
    """

    class_id: str
    name: str
    display_name: str
    probability: float
    url: str
    scientific_name: str | None = None
    activation_map: bytes | None = field(default=None, repr=False)
    translations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Model:
    """Which model answered."""

    architecture: str
    checkpoint: str
    version: str


@dataclass(frozen=True)
class Ood:
    """Out-of-distribution check of a photo.

    Attributes:
        score: Higher looks more like one of the flowers.
        threshold: Lowest score of a known photo.
        is_known: True if the score reaches the threshold.
    """

    score: float
    threshold: float
    is_known: bool


@dataclass(frozen=True)
class PhotoAnswer:
    """What a photo was taken for.

    Attributes:
        predictions: The likeliest first.
        verdict: "unchecked" for a model without an OOD rule, "unknown" if the OOD score is below
            the threshold, "unsure" if the top name has less than half of the probability,
            otherwise "known".
        ood: Out-of-distribution check; None if unchecked.
    """

    predictions: tuple[Prediction, ...]
    verdict: Literal["known", "unsure", "unknown", "unchecked"]
    ood: Ood | None

    @property
    def best(self) -> Prediction:
        """The likeliest name."""
        return self.predictions[0]


@dataclass(frozen=True)
class Answer(PhotoAnswer):
    """What a photo, or several of one plant, was taken for.

    Attributes:
        model: Which model answered.
        request_id: By which the service's log tells more.
        photos: Of several photos, what each alone was taken for, in their order.
    """

    model: Model
    request_id: str
    photos: tuple[PhotoAnswer, ...] = ()


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
        url: Path of its page.
        translations: The `display_name`, `other_names` and `note` in other languages, by their
            code, "de"; the name is None where none is certain.
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
    url: str
    translations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class _Call(Generic[_T]):
    """A request, and what its answer is read by.

    Attributes:
        path: Below the service's address.
        read: Makes the answer of its JSON.
        params: What stands behind the question mark.
        body: Gives the arguments of httpx2 for what is posted; None for a GET. It may read files,
            so that a loop of asyncio must not wait for it.
    """

    path: str
    read: Callable[[Any], _T]
    params: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Mapping[str, Any]] | None = None


def _predict(photo: Photo, *, top_k: int | None = None, explain: bool = False) -> _Call[Answer]:
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

    def body() -> Mapping[str, Any]:
        return {"content": _bytes_of(photo), "headers": {"Content-Type": _BYTES}}

    return _Call("/predict", _answer, _params(top_k, explain), body)


def _combine(
    photos: Iterable[Photo], *, top_k: int | None = None, explain: bool = False
) -> _Call[Answer]:
    """Name the one plant that several photos show; `photos` of the answer tells of each alone.

    Args:
        photos: One to five, each its bytes or the path of its file.
        top_k: How many names, 5 by default.
        explain: Whether the names of each photo get their activation maps.

    Raises:
        OSError: A file cannot be read.
        PetalscopeError: The service refused.
        httpx2.TransportError: The service cannot be reached.
    """
    kept = list(photos)

    def body() -> Mapping[str, Any]:
        return {"files": [("image", ("photo", _bytes_of(photo), _BYTES)) for photo in kept]}

    return _Call("/predict", _answer, {**_params(top_k, explain), "combine": "1"}, body)


def _flowers(query: str = "") -> _Call[list[Flower]]:
    """List the flowers that the model knows, or those whose names `query` finds."""
    return _Call(
        "/flowers",
        lambda body: [_parsed(Flower, item) for item in body["flowers"]],
        {"q": query} if query else {},
    )


def _flower(class_id: str) -> _Call[Flower]:
    """Tell what is known of one class."""
    return _Call(f"/flowers/{quote(class_id, safe='')}", lambda body: _parsed(Flower, body))


def _labels() -> _Call[list[Label]]:
    """List the classes in the order of the model's logits."""
    return _Call("/labels", lambda body: [_parsed(Label, item) for item in body["labels"]])


def _model() -> _Call[dict[str, Any]]:
    """Tell all that the checkpoint says about itself."""
    return _Call("/model", lambda body: dict(body))


def _blocking(describe: Callable[_P, _Call[_T]]) -> Callable[Concatenate[Client, _P], _T]:
    """Make a method that sends a call and waits for its answer."""

    def method(self: Client, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._send(describe(*args, **kwargs))

    _document(method, describe)
    return method


def _awaited(
    describe: Callable[_P, _Call[_T]],
) -> Callable[Concatenate[AsyncClient, _P], Coroutine[Any, Any, _T]]:
    """Make a method that sends a call, and whose answer is awaited."""

    async def method(self: AsyncClient, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self._send(describe(*args, **kwargs))

    _document(method, describe)
    return method


def _document(method: Any, describe: Callable[..., object]) -> None:
    """Let `help` show a method as the call that it sends."""
    self_, *_ = inspect.signature(method).parameters.values()
    own = inspect.signature(describe)
    method.__signature__ = own.replace(
        parameters=[self_, *own.parameters.values()], return_annotation=inspect.Signature.empty
    )
    method.__name__ = describe.__name__.lstrip("_")
    method.__doc__ = describe.__doc__


class _Connection(ABC, Generic[_Http]):
    """What both clients know: where the service is, and how patient they are."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        longest_wait: float = 30.0,
        http: _Http | None = None,
    ) -> None:
        self._address = address.rstrip("/")
        self._timeout = timeout
        self._retries = retries
        self._longest_wait = longest_wait
        self._http: _Http = http or self._new_http()
        self._owns_http = http is None

    @abstractmethod
    def _new_http(self) -> _Http: ...

    def _arguments(self, call: _Call[Any], body: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **body,
            "method": "GET" if call.body is None else "POST",
            "url": self._address + call.path,
            "params": dict(call.params),
            "headers": {"Accept": "application/json", **body.get("headers", {})},
            "timeout": self._timeout,
            "follow_redirects": call.body is None,
        }

    def _wait(self, response: httpx2.Response, sent: int) -> float | None:
        """Return the seconds to wait before it is sent again, None where it is not."""
        if response.status_code not in _RETRIED or sent > self._retries:
            return None
        asked = _retry_after(response)
        wait = 2.0 ** (sent - 1) if asked is None else asked
        return wait if wait <= self._longest_wait else None


class Client(_Connection[httpx2.Client]):
    """Petalscope, asked by blocking calls; may be shared by threads.

    Args:
        address: Of the service, such as "https://flowers.example.org".
        timeout: Seconds in which each step of a request must be done.
        retries: How often a request is sent again after 429 or 503.
        longest_wait: Seconds; where the service asks for more, its refusal is raised at once.
        http: A client of your own, for proxies or certificates; you close it.
    """

    predict = _blocking(_predict)
    combine = _blocking(_combine)
    flowers = _blocking(_flowers)
    flower = _blocking(_flower)
    labels = _blocking(_labels)
    model = _blocking(_model)

    def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new_http(self) -> httpx2.Client:
        return httpx2.Client()

    def _send(self, call: _Call[_T]) -> _T:
        request = self._arguments(call, call.body() if call.body else {})
        sent = 0
        while True:
            response = self._http.request(**request)
            sent += 1
            wait = self._wait(response, sent)
            if wait is None:
                return call.read(_checked(response))
            time.sleep(wait)


class AsyncClient(_Connection[httpx2.AsyncClient]):
    """Petalscope, asked by `await`; see `Client`."""

    predict = _awaited(_predict)
    combine = _awaited(_combine)
    flowers = _awaited(_flowers)
    flower = _awaited(_flower)
    labels = _awaited(_labels)
    model = _awaited(_model)

    async def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _new_http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient()

    async def _send(self, call: _Call[_T]) -> _T:
        request = self._arguments(call, await asyncio.to_thread(call.body) if call.body else {})
        sent = 0
        while True:
            response = await self._http.request(**request)
            sent += 1
            wait = self._wait(response, sent)
            if wait is None:
                return call.read(_checked(response))
            await asyncio.sleep(wait)


def _params(top_k: int | None, explain: bool) -> dict[str, str]:
    params = {} if top_k is None else {"top_k": str(top_k)}
    return {**params, "explain": "1"} if explain else params


def _bytes_of(photo: Photo) -> bytes:
    return photo if isinstance(photo, bytes) else Path(photo).read_bytes()


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
        told.get("code"),
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
    return _parsed(
        Answer,
        {
            **vars(_photo_answer(body)),
            "request_id": body["request_id"],
            "model": _parsed(Model, body["model"]),
            "photos": [_photo_answer(item) for item in body.get("photos", [])],
        },
    )


def _photo_answer(body: Mapping[str, Any]) -> PhotoAnswer:
    predictions = [_prediction(item) for item in body["predictions"]]
    ood = body["ood"] and _parsed(Ood, body["ood"])
    return _parsed(PhotoAnswer, {**body, "predictions": predictions, "ood": ood})


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
