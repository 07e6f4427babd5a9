"""Liveness and readiness checks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from app.context import context_of
from model.classifier import Classifier
from tests.app.conftest import BlockingRun, MakeApp, form


def test_a_started_service_is_alive_and_ready(make_app: MakeApp) -> None:
    client = make_app().test_client()
    assert client.get("/healthz").get_json() == {"status": "alive"}
    assert client.get("/readyz").get_json() == {"status": "ready"}


def test_a_stopping_service_is_alive_but_not_ready(make_app: MakeApp, photo: bytes) -> None:
    app = make_app()
    client = app.test_client()
    context_of(app).batcher.close()
    assert client.get("/healthz").status_code == 200
    not_ready = client.get("/readyz")
    assert (not_ready.status_code, not_ready.get_json()["code"]) == (503, "not_ready")
    response = client.post("/predict", **form(photo))
    assert (response.status_code, response.get_json()["code"]) == (503, "shutting_down")
    assert response.headers["Retry-After"] == "1"


def test_health_checks_respond_while_every_slot_is_in_use(
    make_app: MakeApp, classifier: Classifier, photo: bytes
) -> None:
    run = BlockingRun(classifier.outputs)
    app = make_app(run=run, max_in_flight=1)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(lambda: app.test_client().post("/predict", **form(photo)))
        assert run.started.wait(60)
        assert app.test_client().get("/healthz").status_code == 200
        assert app.test_client().get("/readyz").status_code == 200
        run.release.set()
        assert first.result(60).status_code == 200
