from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from app.context import context_of
from model.classifier import Classifier
from tests.app.conftest import HeldRun, MakeApp, form


def test_a_service_that_was_made_is_alive_and_ready(make_app: MakeApp) -> None:
    client = make_app().test_client()
    assert client.get("/healthz").get_json() == {"status": "alive"}
    assert client.get("/readyz").get_json() == {"status": "ready"}


def test_a_service_that_stops_is_alive_and_not_ready(make_app: MakeApp, photo: bytes) -> None:
    app = make_app()
    client = app.test_client()
    context_of(app).batcher.close()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    response = client.post("/predict", **form(photo))
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"


def test_health_answers_while_every_place_is_taken(
    make_app: MakeApp, classifier: Classifier, photo: bytes
) -> None:
    run = HeldRun(classifier.outputs)
    app = make_app(run=run, max_in_flight=1)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(lambda: app.test_client().post("/predict", **form(photo)))
        assert run.started.wait(60)
        assert app.test_client().get("/healthz").status_code == 200
        assert app.test_client().get("/readyz").status_code == 200
        run.release.set()
        assert first.result(60).status_code == 200
