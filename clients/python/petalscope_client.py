"""Python client for Petalscope.

Copy this file into your project. It needs Python 3.11 and `pip install httpx2`.

    from petalscope_client import AsyncClient, Client

    with Client("http://localhost:8000") as client:
        result = client.predict("photo.jpg")
        print(result.verdict, result.best.name, result.best.probability)

    async with AsyncClient("http://localhost:8000", api_key="…") as client:
        result = await client.combine(["leaf.jpg", "flower.jpg"], top_k=3)
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import quote

import httpx2

Photo = bytes | str | PathLike[str]
"""The bytes or the path of a JPEG, PNG, WebP, GIF, AVIF or BMP file."""

_RETRY_STATUSES: Final = (429, 503)
_OCTET_STREAM: Final = "application/octet-stream"  # the service detects the image format
_T = TypeVar("_T")
_Parts = list[tuple[str, tuple[str | None, bytes, str]]]  # field, then file name, content, type


class PetalscopeError(Exception):
    """An error returned by the service (RFC 9457).

    Attributes:
        status: HTTP status.
        title: Reason phrase of the status.
        detail: Cause and remedy, for people.
        code: Stable error code, such as "unsupported_format". None if the response does not come
            from Petalscope.
        request_id: Request ID; use it to find the log entry. None if the response does not come
            from Petalscope.
        retry_after: Seconds to wait before a retry, or None if the response has no Retry-After.
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
        self.title = title
        self.detail = detail
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after


@dataclass(frozen=True)
class Toxicity:
    """Toxicity of a plant. Never decide from it what is safe to eat or touch.

    Attributes:
        people: For people: "unknown" (no source rates the plant, which does not mean that it is
            harmless), "none_known" (listed as harmless), "mild" or "severe".
        pets: For cats and dogs, by the same words.
        parts: Poisonous parts, such as "all" or "seeds"; empty if the sources name none.
        sources: Codes of the sources; the service's `/flowers` resolves them.
    """

    people: str
    pets: str
    parts: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A picture of a flower.

    Attributes:
        url: Path of the picture.
        thumbnail_url: Path of a square cut from it, 128 pixels a side.
        width: Width in pixels.
        height: Height in pixels.
    """

    url: str
    thumbnail_url: str
    width: int
    height: int


@dataclass(frozen=True)
class CreditedPicture(Picture):
    """A picture of a flower, with its credits.

    Attributes:
        title: What the picture shows.
        author: Painter or photographer.
        work: Book or collection.
        year: Year of publication.
        licence: Licence, such as "CC BY 4.0" or "Public domain".
        source: Address of the original, or None.
    """

    title: str
    author: str
    work: str
    year: str
    licence: str
    source: str | None = None


@dataclass(frozen=True)
class Prediction:
    """One predicted class.

    Attributes:
        class_id: Class ID, such as "18".
        name: Common name in the data set, such as "peruvian lily".
        display_name: Usual spelling of the common name, such as "Peruvian lily".
        probability: Probability in [0, 1].
        url: Path of the flower's page.
        scientific_name: Scientific name, or None if uncertain.
        toxicity: Toxicity, or None if the class is not in the service's catalog.
        picture: Picture, or None if the service has none.
        activation_map: Transparent PNG to lay over the upright photo; None without `explain`.
        translations: Names by language code: `translations["de"]["display_name"]`, which is None if
            no name is certain.
    """

    class_id: str
    name: str
    display_name: str
    probability: float
    url: str
    scientific_name: str | None = None
    toxicity: Toxicity | None = None
    picture: Picture | None = None
    activation_map: bytes | None = field(default=None, repr=False)
    translations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Model:
    """The model that made a prediction."""

    architecture: str
    checkpoint: str
    version: str


@dataclass(frozen=True)
class Ood:
    """Out-of-distribution check of a photo.

    Attributes:
        score: OOD score; higher is more like the flowers of the model.
        threshold: Lowest score of a known photo.
        is_known: True if the score reaches the threshold.
    """

    score: float
    threshold: float
    is_known: bool


@dataclass(frozen=True)
class PhotoResult:
    """Classification result of one photo.

    Attributes:
        predictions: Predictions, most probable first.
        verdict: "unchecked" for a model without an OOD rule, "unknown" if the OOD score is below
            the threshold, "unsure" if the top probability is below the model's
            `known_probability`, otherwise "known".
        ood: Out-of-distribution check, or None if unchecked.
    """

    predictions: tuple[Prediction, ...]
    verdict: Literal["known", "unsure", "unknown", "unchecked"]
    ood: Ood | None

    @property
    def best(self) -> Prediction:
        """Return the most probable prediction."""
        return self.predictions[0]


@dataclass(frozen=True)
class ClassificationResult(PhotoResult):
    """Classification result of a request.

    Attributes:
        model: Model that made the predictions.
        request_id: Request ID; use it to find the log entry.
        photos: Result of each photo, in request order, from `combine`; otherwise empty.
    """

    model: Model
    request_id: str
    photos: tuple[PhotoResult, ...] = ()


@dataclass(frozen=True)
class Label:
    """One class of the model."""

    class_id: str
    name: str


@dataclass(frozen=True)
class Flower:
    """Catalog entry of one class.

    Attributes:
        class_id: Class ID, such as "18".
        name: Common name in the data set, such as "peruvian lily".
        display_name: Usual spelling of the common name, such as "Peruvian lily".
        scientific_name: Scientific name, or None if uncertain.
        rank: "species", "genus", "hybrid", "cultivar", or "uncertain" without scientific name.
        family: Latin name of the family, or None if unknown.
        synonyms: Other scientific names.
        colours: Colours of the flowers in the data set's photos.
        toxicity: Toxicity, or None if the class is not in the service's catalog.
        look_alikes: Class IDs, or scientific names of plants that are not in the data set.
        sources: Codes of the sources of the scientific name and the family.
        other_names: Other common names.
        note: Remark on a misleading name; may be empty.
        features: How the flower is recognized in a photo; may be empty.
        toxicity_note: Explanation of the toxicity; may be empty.
        picture: Picture with its credits, or None if the service has none.
        url: Path of the flower's page.
        translations: `display_name`, `other_names`, `note`, `features` and `toxicity_note` by
            language code, such as "de"; `display_name` is None if no name is certain.
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
    colours: tuple[str, ...] = ()
    toxicity: Toxicity | None = None
    look_alikes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    features: str = ""
    toxicity_note: str = ""
    picture: CreditedPicture | None = None
    translations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class FeedbackReceipt:
    """Stored feedback.

    Attributes:
        deletion_code: Secret for `delete_feedback`; give it to the user.
        has_photo: True if a photo is stored with the feedback.
    """

    deletion_code: str
    has_photo: bool


class _BaseClient:
    """Options of both clients, and how they build and retry requests."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        timeout: float,
        retries: int,
        max_retry_wait: float,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._timeout = timeout
        self._retries = retries
        self._max_retry_wait = max_retry_wait

    def _request_options(self, method: str, content: bytes | None) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        if content is not None:
            headers["Content-Type"] = _OCTET_STREAM
        return {
            "content": content,
            "headers": headers,
            "timeout": self._timeout,
            "follow_redirects": method == "GET",
        }

    def _retry_wait(self, response: httpx2.Response, attempt: int) -> float | None:
        """Return the seconds to wait before a retry, or None to stop; attempts count from 1."""
        if response.status_code not in _RETRY_STATUSES or attempt > self._retries:
            return None
        retry_after = _retry_after(response)
        wait = 2.0 ** (attempt - 1) if retry_after is None else retry_after
        return wait if wait <= self._max_retry_wait else None


class Client(_BaseClient):
    """Synchronous client, safe to share between threads.

    Args:
        base_url: URL of the service, such as "https://flowers.example.org".
        api_key: API key, sent as a bearer token.
        timeout: Seconds allowed for each of connecting, sending and receiving.
        retries: Maximum retries after 429 and 503.
        max_retry_wait: Maximum seconds to wait before a retry. If the service asks for more, the
            error is raised at once.
        http_client: Your own HTTP client, for proxies or certificates. You close it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        max_retry_wait: float = 30.0,
        http_client: httpx2.Client | None = None,
    ) -> None:
        super().__init__(
            base_url,
            api_key=api_key,
            timeout=timeout,
            retries=retries,
            max_retry_wait=max_retry_wait,
        )
        self._http_client = http_client or httpx2.Client()
        self._owns_http_client = http_client is None

    def predict(
        self, photo: Photo, *, top_k: int | None = None, explain: bool = False
    ) -> ClassificationResult:
        """Name the flower in a photo.

        Args:
            photo: Bytes or path of the photo.
            top_k: Number of predictions; 5 by default.
            explain: Add an activation map to each prediction.

        Raises:
            OSError: The file cannot be read.
            PetalscopeError: The service returned an error.
            httpx2.TransportError: The service cannot be reached.
        """
        return _parse_result(
            self._request("POST", "/predict", params=_params(top_k, explain), content=_read(photo))
        )

    def combine(
        self, photos: Iterable[Photo], *, top_k: int | None = None, explain: bool = False
    ) -> ClassificationResult:
        """Name one plant shown in several photos; the result's `photos` has each photo's result.

        Args:
            photos: Bytes or paths of one to five photos.
            top_k: Number of predictions; 5 by default.
            explain: Add an activation map to each photo's predictions.

        Raises:
            OSError: A file cannot be read.
            PetalscopeError: The service returned an error.
            httpx2.TransportError: The service cannot be reached.
        """
        params = {**_params(top_k, explain), "combine": "1"}
        return _parse_result(
            self._request("POST", "/predict", params=params, files=_form_files(photos))
        )

    def flowers(self, query: str = "") -> list[Flower]:
        """List the flowers of the model, filtered by name in any language."""
        body = self._request("GET", "/flowers", params=_search(query))
        return [_parse_flower(item) for item in body["flowers"]]

    def flower(self, class_id: str) -> Flower:
        """Return the catalog entry of one class."""
        return _parse_flower(self._request("GET", _flower_path(class_id)))

    def labels(self) -> list[Label]:
        """List the classes in the order of the model's logits."""
        body = self._request("GET", "/labels")
        return [_parse(Label, item) for item in body["labels"]]

    def model(self) -> dict[str, Any]:
        """Return the metadata of the checkpoint."""
        return self._request("GET", "/model")

    def send_feedback(
        self,
        request_id: str,
        correction: str,
        *,
        predicted: str | None = None,
        photo: Photo | None = None,
        consent: bool = False,
    ) -> FeedbackReceipt:
        """Send what the user says about a result, if the service stores feedback.

        Args:
            request_id: `request_id` of the result.
            correction: Class ID of the right flower, or "right", "other" (none of the classes) or
                "unsure".
            predicted: Class ID of the first prediction; required with "right".
            photo: Bytes or path of the photo, if the user agreed that it is stored.
            consent: The user agreed; required with a photo.

        Raises:
            OSError: The file cannot be read.
            PetalscopeError: The service returned an error: 404 if it stores no feedback, 507 if
                its space is used up.
            httpx2.TransportError: The service cannot be reached.
        """
        files = _feedback_files(request_id, correction, predicted, photo, consent)
        return _parse(FeedbackReceipt, self._request("POST", "/feedback", files=files))

    def delete_feedback(self, deletion_code: str) -> None:
        """Delete feedback and its photo; an unknown code raises `PetalscopeError` (404)."""
        self._request("DELETE", _feedback_path(deletion_code))

    def close(self) -> None:
        """Close the connections."""
        if self._owns_http_client:
            self._http_client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        files: _Parts | None = None,
    ) -> dict[str, Any]:
        options = self._request_options(method, content)
        attempt = 1
        while True:
            response = self._http_client.request(
                method, self._base_url + path, params=params, files=files, **options
            )
            wait = self._retry_wait(response, attempt)
            if wait is None:
                return _json(response)
            time.sleep(wait)
            attempt += 1


class AsyncClient(_BaseClient):
    """Asynchronous client, for asyncio.

    Args:
        base_url: URL of the service, such as "https://flowers.example.org".
        api_key: API key, sent as a bearer token.
        timeout: Seconds allowed for each of connecting, sending and receiving.
        retries: Maximum retries after 429 and 503.
        max_retry_wait: Maximum seconds to wait before a retry. If the service asks for more, the
            error is raised at once.
        http_client: Your own HTTP client, for proxies or certificates. You close it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        max_retry_wait: float = 30.0,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        super().__init__(
            base_url,
            api_key=api_key,
            timeout=timeout,
            retries=retries,
            max_retry_wait=max_retry_wait,
        )
        self._http_client = http_client or httpx2.AsyncClient()
        self._owns_http_client = http_client is None

    async def predict(
        self, photo: Photo, *, top_k: int | None = None, explain: bool = False
    ) -> ClassificationResult:
        """Name the flower in a photo.

        Args:
            photo: Bytes or path of the photo.
            top_k: Number of predictions; 5 by default.
            explain: Add an activation map to each prediction.

        Raises:
            OSError: The file cannot be read.
            PetalscopeError: The service returned an error.
            httpx2.TransportError: The service cannot be reached.
        """
        content = await asyncio.to_thread(_read, photo)
        return _parse_result(
            await self._request("POST", "/predict", params=_params(top_k, explain), content=content)
        )

    async def combine(
        self, photos: Iterable[Photo], *, top_k: int | None = None, explain: bool = False
    ) -> ClassificationResult:
        """Name one plant shown in several photos; the result's `photos` has each photo's result.

        Args:
            photos: Bytes or paths of one to five photos.
            top_k: Number of predictions; 5 by default.
            explain: Add an activation map to each photo's predictions.

        Raises:
            OSError: A file cannot be read.
            PetalscopeError: The service returned an error.
            httpx2.TransportError: The service cannot be reached.
        """
        params = {**_params(top_k, explain), "combine": "1"}
        files = await asyncio.to_thread(_form_files, photos)
        return _parse_result(await self._request("POST", "/predict", params=params, files=files))

    async def flowers(self, query: str = "") -> list[Flower]:
        """List the flowers of the model, filtered by name in any language."""
        body = await self._request("GET", "/flowers", params=_search(query))
        return [_parse_flower(item) for item in body["flowers"]]

    async def flower(self, class_id: str) -> Flower:
        """Return the catalog entry of one class."""
        return _parse_flower(await self._request("GET", _flower_path(class_id)))

    async def labels(self) -> list[Label]:
        """List the classes in the order of the model's logits."""
        body = await self._request("GET", "/labels")
        return [_parse(Label, item) for item in body["labels"]]

    async def model(self) -> dict[str, Any]:
        """Return the metadata of the checkpoint."""
        return await self._request("GET", "/model")

    async def send_feedback(
        self,
        request_id: str,
        correction: str,
        *,
        predicted: str | None = None,
        photo: Photo | None = None,
        consent: bool = False,
    ) -> FeedbackReceipt:
        """Send what the user says about a result, if the service stores feedback.

        Args:
            request_id: `request_id` of the result.
            correction: Class ID of the right flower, or "right", "other" (none of the classes) or
                "unsure".
            predicted: Class ID of the first prediction; required with "right".
            photo: Bytes or path of the photo, if the user agreed that it is stored.
            consent: The user agreed; required with a photo.

        Raises:
            OSError: The file cannot be read.
            PetalscopeError: The service returned an error: 404 if it stores no feedback, 507 if
                its space is used up.
            httpx2.TransportError: The service cannot be reached.
        """
        files = await asyncio.to_thread(
            _feedback_files, request_id, correction, predicted, photo, consent
        )
        return _parse(FeedbackReceipt, await self._request("POST", "/feedback", files=files))

    async def delete_feedback(self, deletion_code: str) -> None:
        """Delete feedback and its photo; an unknown code raises `PetalscopeError` (404)."""
        await self._request("DELETE", _feedback_path(deletion_code))

    async def close(self) -> None:
        """Close the connections."""
        if self._owns_http_client:
            await self._http_client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        files: _Parts | None = None,
    ) -> dict[str, Any]:
        options = self._request_options(method, content)
        attempt = 1
        while True:
            response = await self._http_client.request(
                method, self._base_url + path, params=params, files=files, **options
            )
            wait = self._retry_wait(response, attempt)
            if wait is None:
                return _json(response)
            await asyncio.sleep(wait)
            attempt += 1


def _params(top_k: int | None, explain: bool) -> dict[str, str]:
    params = {} if top_k is None else {"top_k": str(top_k)}
    return {**params, "explain": "1"} if explain else params


def _search(query: str) -> dict[str, str]:
    return {"q": query} if query else {}


def _flower_path(class_id: str) -> str:
    return f"/flowers/{quote(class_id, safe='')}"


def _read(photo: Photo) -> bytes:
    return photo if isinstance(photo, bytes) else Path(photo).read_bytes()


def _form_files(photos: Iterable[Photo]) -> _Parts:
    return [("image", ("photo", _read(photo), _OCTET_STREAM)) for photo in photos]


def _feedback_files(
    request_id: str, correction: str, predicted: str | None, photo: Photo | None, consent: bool
) -> _Parts:
    """Return the parts of a form; parts without a file name are text fields."""
    fields = {"request_id": request_id, "correction": correction, "predicted": predicted}
    parts: _Parts = [
        (name, (None, text.encode(), "text/plain"))
        for name, text in fields.items()
        if text is not None
    ]
    if consent:
        parts.append(("consent", (None, b"true", "text/plain")))
    return parts if photo is None else [*parts, *_form_files([photo])]


def _feedback_path(deletion_code: str) -> str:
    return f"/feedback/{quote(deletion_code, safe='')}"


def _json(response: httpx2.Response) -> dict[str, Any]:
    """Return the JSON object of a response; an empty one after a deletion.

    Raises:
        PetalscopeError: The response is an error or does not come from Petalscope.
    """
    if response.status_code == 204 and response.request.method == "DELETE":
        return {}
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.status_code == 200 and isinstance(body, dict):
        return body
    problem = body if isinstance(body, dict) else {}
    raise PetalscopeError(
        response.status_code,
        str(problem.get("title") or response.reason_phrase),
        str(problem.get("detail") or "The response does not come from Petalscope; check base_url."),
        problem.get("code"),
        problem.get("request_id"),
        _retry_after(response),
    )


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds given by Retry-After, which holds seconds or an HTTP date."""
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


def _parse_result(body: Mapping[str, Any]) -> ClassificationResult:
    return _parse(
        ClassificationResult,
        {
            **vars(_parse_photo_result(body)),
            "request_id": body["request_id"],
            "model": _parse(Model, body["model"]),
            "photos": [_parse_photo_result(item) for item in body.get("photos", [])],
        },
    )


def _parse_photo_result(body: Mapping[str, Any]) -> PhotoResult:
    predictions = [_parse_prediction(item) for item in body["predictions"]]
    ood = body["ood"] and _parse(Ood, body["ood"])
    return _parse(PhotoResult, {**body, "predictions": predictions, "ood": ood})


def _parse_prediction(item: Mapping[str, Any]) -> Prediction:
    data_url = item.get("activation_map")
    png = base64.b64decode(data_url.partition(",")[2]) if data_url else None
    toxicity = _parse_member(Toxicity, item, "toxicity")
    picture = _parse_member(Picture, item, "picture")
    return _parse(
        Prediction, {**item, "toxicity": toxicity, "picture": picture, "activation_map": png}
    )


def _parse_flower(item: Mapping[str, Any]) -> Flower:
    toxicity = _parse_member(Toxicity, item, "toxicity")
    picture = _parse_member(CreditedPicture, item, "picture")
    return _parse(Flower, {**item, "toxicity": toxicity, "picture": picture})


def _parse_member(kind: type[_T], item: Mapping[str, Any], name: str) -> _T | None:
    """Build a dataclass from a member of a JSON object; None if it is null or absent."""
    value = item.get(name)
    return value and _parse(kind, value)


def _parse(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """Build a dataclass from a JSON object; ignore keys that a newer service adds."""
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in names
        }
    )
