"""What the service says when it cannot answer: busy, late, out of memory, broken."""

from __future__ import annotations

import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Event

import numpy as np
import numpy.typing as npt
import pytest
import torch

from app.context import context_of
from model.backends.base import Outputs
from model.backends.torch_backend import TorchBackend
from model.classifier import Classifier
from tests.app.conftest import HeldRun, MakeApp, Run, form
from tests.serving import until


class FaultyRun:
    """A model that fails on every photo, but not in its warm-up."""

    def __init__(self, run: Run, fault: BaseException) -> None:
        self._run = run
        self._fault = fault
        self._warm = False

    def __call__(self, batch: npt.NDArray[np.float32]) -> list[Outputs]:
        if self._warm:
            raise self._fault
        self._warm = True
        return self._run(batch)


@pytest.mark.parametrize("path", ["/predict", "/"])
def test_a_photo_too_many_is_turned_away_with_429(
    make_app: MakeApp, classifier: Classifier, photo: bytes, path: str
) -> None:
    run = HeldRun(classifier.outputs)
    app = make_app(run=run, max_in_flight=1)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(lambda: app.test_client().post("/predict", **form(photo)))
        assert run.started.wait(60)
        response = app.test_client().post(path, **form(photo))
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "1"
        assert "try again" in response.text
        run.release.set()
        assert first.result(60).status_code == 200
    assert app.test_client().post(path, **form(photo)).status_code == 200


def test_a_network_to_which_batches_bring_nothing_gets_single_photos(
    make_app: MakeApp, classifier: Classifier, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchBackend, "max_batch_size", 1)
    held = HeldRun(classifier.outputs)
    sizes = []

    def run(batch: npt.NDArray[np.float32]) -> list[Outputs]:
        sizes.append(len(batch))
        return held(batch)

    app = make_app(run=run)
    batcher = context_of(app).batcher
    with ThreadPoolExecutor(4) as threads:
        responses = [
            threads.submit(lambda: app.test_client().post("/predict", **form(photo)))
            for _ in range(4)
        ]
        until(lambda: batcher.queued == 3)
        held.release.set()
        assert [response.result(60).status_code for response in responses] == [200] * 4
    assert sizes == [1] * 5  # the first is the warm-up


def test_a_photo_past_its_deadline_is_answered_with_504(
    make_app: MakeApp, classifier: Classifier, photo: bytes
) -> None:
    run = HeldRun(classifier.outputs)
    client = make_app(run=run, request_timeout_seconds=0.1).test_client()
    response = client.post("/predict", **form(photo))
    assert response.status_code == 504
    assert "0.1 seconds" in response.get_json()["detail"]
    run.release.set()


def test_a_photo_without_memory_is_answered_with_503(
    make_app: MakeApp, classifier: Classifier, photo: bytes
) -> None:
    run = FaultyRun(classifier.outputs, torch.OutOfMemoryError("CUDA out of memory"))
    client = make_app(run=run).test_client()
    response = client.post("/predict", **form(photo))
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert "CUDA" not in response.text
    assert client.get("/readyz").status_code == 200


def test_a_model_that_fails_answers_500_and_ends_the_process(
    make_app: MakeApp, classifier: Classifier, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    ended = Event()
    run = FaultyRun(classifier.outputs, RuntimeError("CUDA error at /secret/kernel.cu:42"))
    client = make_app(run=run, end_process=ended.set).test_client()
    response = client.post("/predict", **form(photo))
    assert response.status_code == 500
    assert "secret" not in response.text
    assert ended.wait(60)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert client.post("/predict", **form(photo)).status_code == 503
    critical = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(critical) == 1


def test_the_process_is_ended_by_the_signal_that_gunicorn_ends_it_by(
    make_app: MakeApp, classifier: Classifier, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: Queue[tuple[int, int]] = Queue()
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.put((pid, number)))
    run = FaultyRun(classifier.outputs, RuntimeError("CUDA error"))
    make_app(run=run).test_client().post("/predict", **form(photo))
    assert signals.get(timeout=60) == (os.getpid(), signal.SIGTERM)
