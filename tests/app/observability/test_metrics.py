"""Metrics and their port."""

from __future__ import annotations

import socket
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from app.context import context_of
from app.observability.metrics import Metrics, MetricsPortError
from tests.app.conftest import BlockingRun, MakeApp, form, multipart
from tests.serving import free_port

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(port: int) -> Samples:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    return {
        (
            sample.name.removeprefix("petalscope_"),
            tuple(sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def app(make_app: MakeApp, port: int) -> Flask:
    return make_app(metrics_port=port)


def test_requests_photos_and_durations_are_measured(app: Flask, port: int, photo: bytes) -> None:
    client = app.test_client()
    verdict = client.post("/predict?top_k=1", **form(photo)).get_json()["verdict"]
    client.post("/predict", **form(b"words"))
    client.get("/nowhere/at/all")
    client.open("/predict", method="BREW")
    samples = scrape(port)

    def requests(method: str, route: str, status: int) -> float | None:
        labels = (("method", method), ("route", route), ("status", str(status)))
        return samples.get(("http_requests_total", labels))

    assert requests("POST", "/predict", 200) == 1
    assert requests("POST", "/predict", 415) == 1
    # Paths and methods that clients invent create no time series.
    assert requests("GET", "none", 404) == 1
    assert requests("other", "none", 405) == 1
    assert samples["photos_answered_total", (("verdict", verdict),)] == 1
    for step in ("decode", "wait", "inference"):
        assert samples["photo_duration_seconds_count", (("step", step),)] == 1
    assert samples["batch_size_photos_count", ()] == 1
    assert samples["http_request_duration_seconds_count", (("route", "/predict"),)] == 2
    assert samples["photos_in_flight_limit", ()] == 24
    assert samples["photos_in_flight", ()] == 0
    info = next(dict(labels) for name, labels in samples if name == "model_info")
    assert info["architecture"]
    assert info["version"]
    assert (info["backend"], info["device"]) == ("pytorch", "cpu")
    assert samples["process_resident_memory_bytes", ()] > 0


@pytest.mark.slow
def test_refused_photos_are_counted_by_reason(
    make_app: MakeApp, classifier: object, port: int, photo: bytes
) -> None:
    run = BlockingRun(classifier.outputs)  # type: ignore[attr-defined]
    client = make_app(
        run=run, metrics_port=port, request_timeout_seconds=0.3, max_in_flight=1
    ).test_client()
    assert client.post("/predict", **form(photo)).status_code == 504
    run.release.set()
    samples = scrape(port)
    assert samples["photos_refused_total", (("reason", "expired"),)] == 1
    assert not any(name == "photos_answered_total" for name, _ in samples)


def test_each_photo_of_a_request_is_measured(app: Flask, port: int, photo: bytes) -> None:
    parts = [("image", f"{number}.jpg", photo) for number in range(3)]
    response = app.test_client().post("/predict?combine=1", **multipart(*parts))
    assert response.status_code == 200
    samples = scrape(port)
    for step in ("decode", "wait", "inference"):
        assert samples["photo_duration_seconds_count", (("step", step),)] == 3
    answered = [value for (name, _), value in samples.items() if name == "photos_answered_total"]
    assert sum(answered) == 3
    assert samples["batch_size_photos_sum", ()] == 3


def test_each_refused_photo_of_a_request_is_counted(
    make_app: MakeApp, port: int, photo: bytes
) -> None:
    app = make_app(metrics_port=port, max_in_flight=2)
    parts = [("image", f"{number}.jpg", photo) for number in range(2)]
    with context_of(app).batcher.acquire():
        response = app.test_client().post("/predict?combine=1", **multipart(*parts))
    assert response.status_code == 429
    assert scrape(port)["photos_refused_total", (("reason", "full"),)] == 2


def test_the_metrics_port_does_not_serve_the_api(app: Flask, port: int) -> None:
    with pytest.raises(HTTPError) as caught:
        urlopen(f"http://127.0.0.1:{port}/predict")
    assert caught.value.code == 404
    caught.value.close()
    assert app.test_client().get("/metrics").status_code == 404


def test_the_metrics_port_serves_health_checks_and_names_no_version(app: Flask, port: int) -> None:
    for path in ("healthz", "readyz"):
        with urlopen(f"http://127.0.0.1:{port}/{path}") as response:
            assert response.status == 200
            assert response.headers["Server"] == "petalscope"
        head = Request(f"http://127.0.0.1:{port}/{path}", method="HEAD")
        with urlopen(head) as response:
            assert response.status == 200
            assert int(response.headers["Content-Length"]) > 0
            assert not response.read()
    # A method that the server does not know.
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"BREW / HTTP/1.0\r\n\r\n")
        assert b"Python" not in connection.makefile("rb").read()
    context_of(app).batcher.close()
    with pytest.raises(HTTPError) as caught:
        urlopen(f"http://127.0.0.1:{port}/readyz")
    assert caught.value.code == 503
    caught.value.close()
    with urlopen(f"http://127.0.0.1:{port}/healthz") as response:
        assert response.status == 200


def test_a_metrics_port_in_use_stops_the_start() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as occupied,
        pytest.raises(MetricsPortError),
    ):
        Metrics().serve("127.0.0.1", occupied.getsockname()[1], lambda: True)


def test_two_workers_share_the_metrics_port(port: int) -> None:
    for _ in range(2):
        Metrics().serve("127.0.0.1", port, lambda: True)
    assert scrape(port)
