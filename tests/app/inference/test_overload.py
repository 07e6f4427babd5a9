"""Responses of an overloaded, slow, or failing service."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Event

import pytest
import torch

from app.context import context_of
from model.backends.base import Outputs, Pixels
from model.backends.torch_backend import TorchBackend
from model.classifier import Classifier
from tests.app.conftest import BlockingRun, MakeApp, Run, form
from tests.serving import until


class FailingRun:
    """A model that raises `error` on every call after the warm-up."""

    def __init__(self, run: Run, error: BaseException) -> None:
        self._run = run
        self._error = error
        self._warm = False

    def __call__(self, batch: list[Pixels]) -> Iterable[Outputs]:
        if self._warm:
            raise self._error
        self._warm = True
        return self._run(batch)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/predict", "/"])
def test_a_photo_beyond_the_slots_gets_429(
    make_app: MakeApp, classifier: Classifier, photo: bytes, path: str
) -> None:
    run = BlockingRun(classifier.outputs)
    app = make_app(run=run, max_in_flight=1)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(lambda: app.test_client().post("/predict", **form(photo)))
        assert run.started.wait(60)
        response = app.test_client().post(path, **form(photo))
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "1"
        run.release.set()
        assert first.result(60).status_code == 200
    assert app.test_client().post(path, **form(photo)).status_code == 200


def test_a_backend_may_limit_batches_to_one_photo(
    make_app: MakeApp, classifier: Classifier, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchBackend, "max_batch_size", 1)
    blocking = BlockingRun(classifier.outputs)
    sizes = []

    def run(batch: list[Pixels]) -> Iterable[Outputs]:
        sizes.append(len(batch))
        return blocking(batch)

    app = make_app(run=run)
    batcher = context_of(app).batcher
    with ThreadPoolExecutor(4) as threads:
        responses = [
            threads.submit(lambda: app.test_client().post("/predict", **form(photo)))
            for _ in range(4)
        ]
        until(lambda: batcher.queued == 3)
        blocking.release.set()
        assert [response.result(60).status_code for response in responses] == [200] * 4
    assert sizes == [1] * 5  # including the warm-up


def test_a_photo_past_its_deadline_gets_504(
    make_app: MakeApp, classifier: Classifier, photo: bytes
) -> None:
    run = BlockingRun(classifier.outputs)
    client = make_app(run=run, request_timeout_seconds=0.1).test_client()
    response = client.post("/predict", **form(photo))
    assert response.status_code == 504
    problem = response.get_json()
    assert problem["code"] == "timed_out"
    assert "0.1" in problem["detail"]
    run.release.set()


def test_out_of_memory_is_503(make_app: MakeApp, classifier: Classifier, photo: bytes) -> None:
    run = FailingRun(classifier.outputs, torch.OutOfMemoryError("CUDA out of memory"))
    client = make_app(run=run).test_client()
    response = client.post("/predict", **form(photo))
    assert response.status_code == 503
    assert response.get_json()["code"] == "out_of_memory"
    assert response.headers["Retry-After"] == "1"
    assert "CUDA" not in response.text
    assert client.get("/readyz").status_code == 200


def test_a_failed_model_is_500_and_ends_the_process(
    make_app: MakeApp, classifier: Classifier, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    ended = Event()
    run = FailingRun(classifier.outputs, RuntimeError("CUDA error at /secret/kernel.cu:42"))
    client = make_app(run=run, end_process=ended.set).test_client()
    response = client.post("/predict", **form(photo))
    assert response.status_code == 500
    assert response.get_json()["code"] == "model_failed"
    assert "secret" not in response.text
    assert ended.wait(60)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert client.post("/predict", **form(photo)).status_code == 503
    critical = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(critical) == 1


def test_a_hung_model_is_not_ready_and_ends_the_process(
    make_app: MakeApp, classifier: Classifier, photo: bytes
) -> None:
    ended = Event()
    run = BlockingRun(classifier.outputs)
    client = make_app(
        run=run, batch_timeout_seconds=0.1, request_timeout_seconds=60, end_process=ended.set
    ).test_client()
    response = client.post("/predict", **form(photo))
    assert response.status_code == 503
    assert response.get_json()["code"] == "model_stalled"
    assert response.headers["Retry-After"] == "1"
    assert ended.wait(60)
    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["code"]) == (503, "model_stalled")
    assert client.get("/healthz").status_code == 200
    assert client.post("/predict", **form(photo)).status_code == 503
    run.release.set()


def test_a_failed_model_ends_the_process_by_sigterm(
    make_app: MakeApp, classifier: Classifier, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: Queue[tuple[int, int]] = Queue()
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.put((pid, number)))
    run = FailingRun(classifier.outputs, RuntimeError("CUDA error"))
    make_app(run=run).test_client().post("/predict", **form(photo))
    assert signals.get(timeout=60) == (os.getpid(), signal.SIGTERM)
