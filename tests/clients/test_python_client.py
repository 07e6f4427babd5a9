"""Tests of the Python client with a running service and with mock responses."""

from __future__ import annotations

import asyncio
import inspect
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx2
import petalscope_client
import pytest
from petalscope_client import AsyncClient, Client, Label, PetalscopeError
from PIL import Image

from app.schemas import responses
from model.ood import OodRule
from tests.conftest import TINY_CLASSES, flower_image
from tests.fake_checkpoint import always, save_fake_checkpoint
from tests.serving import serving

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    path = save_fake_checkpoint(folder / "fake.onnx", always(4), ood_rule=OodRule("max_logit", 5.0))
    settings = {
        "PETALSCOPE_CHECKPOINT": str(path),
        "PETALSCOPE_FEEDBACK_DIR": str(folder / "feedback"),
    }
    with serving(folder, **settings) as server:
        yield server.address


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    flower_image().save(path)
    return path


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Return a function that calls a method of either client.

    For example, ask(address, "predict", photo, top_k=1).
    """

    def ask_sync(address: str, method: str, *values: Any, handler: Any = None, **named: Any) -> Any:
        http_client = httpx2.Client(transport=httpx2.MockTransport(handler)) if handler else None
        with Client(address, http_client=http_client) as client:
            return getattr(client, method)(*values, **named)

    def ask_async(
        address: str, method: str, *values: Any, handler: Any = None, **named: Any
    ) -> Any:
        async def call() -> Any:
            http_client = (
                httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) if handler else None
            )
            async with AsyncClient(address, http_client=http_client) as client:
                return await getattr(client, method)(*values, **named)

        return asyncio.run(call())

    return ask_sync if request.param == "sync" else ask_async


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the seconds that a client would sleep, without sleeping."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr("petalscope_client.asyncio.sleep", sleep)
    return waited


@pytest.mark.parametrize(
    "name",
    [
        *("ClassificationResult", "PhotoResult", "Prediction", "Ood", "Model", "Label", "Flower"),
        *("FeedbackReceipt", "Picture", "CreditedPicture"),
    ],
)
def test_the_client_has_every_field_of_the_response(name: str) -> None:
    in_client = {item.name for item in fields(getattr(petalscope_client, name))}
    assert in_client == set(getattr(responses, name).model_fields)


@pytest.mark.slow
def test_a_photo_is_named(ask: Ask, address: str, photo: Path) -> None:
    result = ask(address, "predict", photo)
    assert len(result.predictions) == 5
    assert (result.best.class_id, result.best.name) == ("21", "fire lily")
    assert result.best.probability > 0.9
    assert result.best.activation_map is None
    assert result.verdict == "known"
    assert result.ood.is_known
    assert result.ood.threshold == 5.0
    assert result.model.checkpoint == "fake.onnx"
    assert result.request_id
    assert result.photos == ()
    assert result.best.url == "/flowers/21-fire-lily"
    assert ask(address, "flower", result.best.class_id).url == result.best.url


@pytest.mark.slow
def test_predict_accepts_bytes_and_paths(ask: Ask, address: str, photo: Path) -> None:
    results = [ask(address, "predict", item) for item in (photo, str(photo), photo.read_bytes())]
    assert len({result.predictions for result in results}) == 1


@pytest.mark.slow
def test_explain_adds_activation_maps(ask: Ask, address: str, photo: Path) -> None:
    result = ask(address, "predict", photo, top_k=2, explain=True)
    assert len(result.predictions) == 2
    for prediction in result.predictions:
        with Image.open(io.BytesIO(prediction.activation_map)) as picture:
            assert picture.format == "PNG"


@pytest.mark.slow
def test_combine_returns_a_common_and_single_results(ask: Ask, address: str, photo: Path) -> None:
    photos = (item for item in (photo, photo.read_bytes(), str(photo)))
    result = ask(address, "combine", photos, top_k=2, explain=True)
    assert result.best.name == "fire lily"
    assert len(result.predictions) == 2
    assert [alone.best.name for alone in result.photos] == ["fire lily"] * 3
    for alone in result.photos:
        assert alone.verdict == "known"
        assert alone.best.activation_map.startswith(b"\x89PNG")
    with pytest.raises(PetalscopeError) as caught:
        ask(address, "combine", [photo] * 6)
    assert caught.value.code == "too_many_photos"


@pytest.mark.slow
def test_labels_model_and_flowers_are_listed(ask: Ask, address: str) -> None:
    assert ask(address, "labels") == [Label(item.class_id, item.name) for item in TINY_CLASSES]
    assert ask(address, "model")["checkpoint"] == "fake.onnx"
    assert len(ask(address, "flowers")) == 6
    (lily,) = ask(address, "flowers", "gloriosa")
    assert lily.scientific_name == "Gloriosa superba"
    assert lily == ask(address, "flower", "21")


@pytest.mark.slow
def test_feedback_is_sent_and_deleted(ask: Ask, address: str, photo: Path) -> None:
    result = ask(address, "predict", photo)
    options = {"predicted": result.best.class_id, "photo": photo, "consent": True}
    receipt = ask(address, "send_feedback", result.request_id, "right", **options)
    assert receipt.has_photo
    assert ask(address, "send_feedback", result.request_id, "right", **options) == receipt
    assert not ask(address, "send_feedback", result.request_id, "other").has_photo
    assert ask(address, "delete_feedback", receipt.deletion_code) is None
    for method, values, named, code in (
        ("delete_feedback", [receipt.deletion_code], {}, "feedback_not_found"),
        ("delete_feedback", ["../labels"], {}, "not_found"),
        ("send_feedback", ["1", "right"], {}, "invalid_parameter"),
        ("send_feedback", ["1", "21"], {"photo": photo}, "consent_missing"),
    ):
        with pytest.raises(PetalscopeError) as caught:
            ask(address, method, *values, **named)
        assert caught.value.code == code


@pytest.mark.slow
def test_errors_of_the_service_are_raised(ask: Ask, address: str, photo: Path) -> None:
    with pytest.raises(PetalscopeError) as caught:
        ask(address, "predict", b"words")
    error = caught.value
    assert error.status == 415
    assert error.title
    assert error.code == "unsupported_format"
    assert "JPEG" in error.detail
    assert error.request_id
    assert error.retry_after is None
    assert error.detail in str(error)
    for method, values, status in (("flower", ["999"], 404), ("predict", [photo], 422)):
        with pytest.raises(PetalscopeError) as caught:
            ask(address, method, *values, **({"top_k": 0} if status == 422 else {}))
        assert caught.value.status == status


@pytest.mark.slow
def test_a_missing_file_raises_file_not_found(ask: Ask, address: str) -> None:
    with pytest.raises(FileNotFoundError):
        ask(address, "predict", "/nowhere/photo.jpg")


def test_an_unreachable_service_raises_transport_error(ask: Ask, photo: Path) -> None:
    with pytest.raises(httpx2.TransportError):
        ask("http://127.0.0.1:9", "predict", photo)


def refusing(*replies: tuple[int, str | None]) -> tuple[Any, list[httpx2.Request]]:
    """Mock a service that returns each (status, Retry-After) in turn, then an empty label list."""
    requests: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        if len(requests) > len(replies):
            return httpx2.Response(200, json={"labels": []})
        status, after = replies[len(requests) - 1]
        headers = {} if after is None else {"Retry-After": after}
        return httpx2.Response(status, json={"detail": "The queue is full."}, headers=headers)

    return handle, requests


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([(429, "2")], [2]),
        ([(503, "1"), (429, "7"), (429, "0")], [1, 7, 0]),
        ([(429, None), (503, None)], [1, 2]),
        ([(503, "soon")], [1]),
        ([(429, "Tue, 24 Nov 2020 12:00:00 GMT")], [0]),
    ],
)
def test_retries_wait_for_retry_after(
    ask: Ask, waits: list[float], replies: list[tuple[int, str | None]], expected: list[float]
) -> None:
    handler, requests = refusing(*replies)
    assert ask("http://stub", "labels", handler=handler) == []
    assert waits == expected
    assert len(requests) == len(replies) + 1


def test_retry_after_may_be_a_date(ask: Ask, waits: list[float]) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    handler, _ = refusing((503, until))
    ask("http://stub", "labels", handler=handler)
    assert 15 < waits[0] <= 20


@pytest.mark.parametrize(
    ("replies", "sent", "after"),
    [([(429, "1")] * 4, 4, 1), ([(503, "3600")], 1, 3600), ([(500, "1")], 1, 1)],
)
def test_errors_that_are_not_retried_are_raised(
    ask: Ask, waits: list[float], replies: list[tuple[int, str | None]], sent: int, after: float
) -> None:
    handler, requests = refusing(*replies)
    with pytest.raises(PetalscopeError) as caught:
        ask("http://stub", "labels", handler=handler)
    assert (caught.value.status, caught.value.retry_after) == (replies[-1][0], after)
    assert caught.value.detail == "The queue is full."
    assert len(requests) == sent
    assert len(waits) == sent - 1


@pytest.mark.parametrize("body", [b"<h1>Bad gateway</h1>", b"[]", b"null"])
@pytest.mark.parametrize("status", [200, 204, 502])
def test_responses_of_other_servers_are_raised(ask: Ask, status: int, body: bytes) -> None:
    with pytest.raises(PetalscopeError) as caught:
        ask("http://stub", "labels", handler=lambda _: httpx2.Response(status, content=body))
    assert caught.value.status == status
    assert caught.value.code is caught.value.request_id is None


def test_unknown_keys_of_a_newer_service_are_ignored(ask: Ask) -> None:
    labels = {"labels": [{"class_id": "1", "name": "rose", "color": "red"}]}
    handler = lambda _: httpx2.Response(200, json=labels)  # noqa: E731
    assert ask("http://stub", "labels", handler=handler) == [Label("1", "rose")]


def test_both_clients_have_the_same_methods_and_signatures() -> None:
    methods = [
        {
            name: [str(item) for item in inspect.signature(method).parameters.values()][1:]
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }
        for kind in (Client, AsyncClient)
    ]
    assert methods[0] == methods[1]
    assert methods[0]["flowers"] == ["query: 'str' = ''"]


def test_the_api_key_is_sent_as_a_bearer_token() -> None:
    handler, requests = refusing()
    http_client = httpx2.Client(transport=httpx2.MockTransport(handler))
    for api_key in ("secret", None):
        Client("http://stub", api_key=api_key, http_client=http_client).labels()
    assert [item.headers.get("Authorization") for item in requests] == ["Bearer secret", None]


def test_the_async_client_sends_the_api_key_too() -> None:
    handler, requests = refusing()

    async def call() -> None:
        http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(handler))
        await AsyncClient("http://stub", api_key="secret", http_client=http_client).labels()

    asyncio.run(call())
    assert requests[0].headers["Authorization"] == "Bearer secret"


def test_a_longer_retry_wait_can_be_allowed(waits: list[float]) -> None:
    handler, _ = refusing((429, "60"))
    http_client = httpx2.Client(transport=httpx2.MockTransport(handler))
    assert Client("http://stub", max_retry_wait=60, http_client=http_client).labels() == []
    assert waits == [60]


@pytest.mark.slow
def test_a_protected_service_accepts_the_api_key(tmp_path: Path) -> None:
    key = "0123456789abcdef" * 3
    keys_file = tmp_path / "keys"
    keys_file.write_text(key)
    with serving(tmp_path, PETALSCOPE_API_KEYS_FILE=str(keys_file)) as server:
        with Client(server.address, api_key=key) as client:
            assert client.labels()
        with Client(server.address) as client, pytest.raises(PetalscopeError) as caught:
            client.labels()
    assert (caught.value.status, caught.value.code) == (401, "api_key_missing")
