"""Request log and log output."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from app.observability.metrics import LOG_LINES_DROPPED
from tests.app.conftest import MakeApp, form


def flush_log() -> None:
    (handler,) = logging.getLogger("app").handlers
    handler.flush()


def output(capfd: pytest.CaptureFixture[str]) -> str:
    flush_log()
    return capfd.readouterr().out


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output(capfd).splitlines()]


def test_a_request_is_one_line_with_its_durations(
    client: FlaskClient, photo: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    client.post(
        "/predict?top_k=1",
        data=photo,
        content_type="image/jpeg",
        headers={"X-Request-ID": "abc-123"},
    )
    (line,) = lines(capfd)
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
    assert line["level"] == "info"
    assert line["id"] == "abc-123"
    assert line["method"] == "POST"
    assert line["path"] == "/predict"
    assert line["status"] == 200
    assert line["bytes_in"] == len(photo)
    steps = [line["decode_ms"], line["wait_ms"], line["inference_ms"]]
    assert all(step >= 0 for step in steps)
    assert line["ms"] >= sum(steps) - 1


def test_a_refused_request_is_logged_without_durations(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    client.post("/predict", data=b"words", content_type="text/plain")
    client.get("/nowhere")
    refused, missing = lines(capfd)
    assert (refused["status"], refused["bytes_in"]) == (415, 5)
    assert (missing["status"], missing["bytes_in"]) == (404, 0)
    assert "decode_ms" not in refused


def test_client_input_cannot_break_or_forge_a_line(
    client: FlaskClient, photo: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    adversarial = '/a"}\n{"status": 200, "forged": "\r\u2028\x1b[2J\0\ud83d\ude00' + "x" * 5000
    client.get(quote(adversarial, safe="/", errors="surrogatepass"))
    client.open("/", method='GET"\n{}' + "M" * 1000)
    client.post("/predict", **form(photo, name='a"\n{"forged": 1}.jpg'))
    written = output(capfd)
    assert written.isascii()
    assert written.count("\n") == 3
    for line in written.splitlines():
        assert "forged" not in json.loads(line)
        assert len(line) < 2500


def test_an_unhandled_exception_is_one_line_with_traceback_and_id(
    make_app: MakeApp, capfd: pytest.CaptureFixture[str]
) -> None:
    app = make_app()

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("first\nsecond")

    app.test_client().get("/broken", headers={"X-Request-ID": "abc"})
    error, request = lines(capfd)
    assert error["level"] == "error"
    assert error["id"] == request["id"] == "abc"
    assert "RuntimeError: first\nsecond" in error["exception"]
    assert request["status"] == 500


def test_health_checks_are_logged_at_debug_level_only(
    make_app: MakeApp, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in ("/healthz", "/readyz"):
        make_app(log_level="info").test_client().get(path)
        assert lines(capfd) == []
        make_app(log_level="debug").test_client().get(path)
        assert [line["path"] for line in lines(capfd)] == [path]


def test_a_higher_log_level_omits_requests(
    make_app: MakeApp, capfd: pytest.CaptureFixture[str]
) -> None:
    make_app(log_level="warning").test_client().get("/labels")
    assert lines(capfd) == []


def test_several_apps_write_a_line_once(
    make_app: MakeApp, capfd: pytest.CaptureFixture[str]
) -> None:
    clients = [make_app().test_client() for _ in range(3)]
    clients[0].get("/labels")
    assert len(lines(capfd)) == 1


def test_lines_of_a_burst_are_written_in_order(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    ids = [f"request-{number}" for number in range(200)]
    for given in ids:
        client.get("/labels", headers={"X-Request-ID": given})
    assert [line["id"] for line in lines(capfd)] == ids


@pytest.mark.slow
def test_lines_logged_during_a_flush_are_written(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    stop = threading.Event()

    def send() -> int:
        count = 0
        while not stop.is_set():
            client.get("/labels")
            count += 1
        return count

    with ThreadPoolExecutor(1) as thread:
        sent = thread.submit(send)
        for _ in range(5):
            flush_log()
        stop.set()
    # Read once: capfd loses what is written while it reads.
    assert len(lines(capfd)) == sent.result() > 0


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 64])
def test_a_safe_request_id_is_returned(client: FlaskClient, given: str) -> None:
    response = client.get("/labels", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, 'a"b', "a b", "é", "a/b", "<script>"])
def test_an_unsafe_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    first, second = (
        client.get("/labels", headers={"X-Request-ID": given}).headers["X-Request-ID"]
        for _ in range(2)
    )
    assert first != given
    assert first != second
    assert len(first) == 32


def test_the_version_in_a_path_is_logged(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    client.get("/v1/labels")
    (line,) = lines(capfd)
    assert line["path"] == "/v1/labels"


def dropped_lines() -> float:
    (family,) = LOG_LINES_DROPPED.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_total"))


@contextmanager
def piped_output() -> Iterator[int]:
    """Replace standard output by a pipe of one page, and yield its end for reading."""
    read, write = os.pipe()
    if sys.platform == "linux":
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    saved = os.dup(1)
    os.dup2(write, 1)
    os.close(write)
    try:
        yield read
    finally:
        os.dup2(saved, 1)
        os.close(saved)


@pytest.mark.slow
def test_a_stalled_output_drops_lines_and_delays_no_request(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    before = dropped_lines()
    with piped_output() as read:
        for number in range(12_000):
            logging.getLogger("app.test").warning("line %s", number)
        assert client.get("/labels").status_code == 200
        dropped = dropped_lines() - before
        assert 1_000 <= dropped <= 2_001
        os.close(read)
        output(capfd)


def test_a_closed_output_drops_lines_without_a_traceback(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    before = dropped_lines()
    with piped_output() as read:
        os.close(read)
        assert client.get("/labels").status_code == 200
        output(capfd)
    assert dropped_lines() == before + 1
    assert capfd.readouterr().err == ""


def test_a_line_longer_than_a_pipe_is_written_completely(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    with piped_output() as read, ThreadPoolExecutor(1) as thread, os.fdopen(read) as pipe:
        line = thread.submit(pipe.readline)
        logging.getLogger("app.test").warning("x" * 100_000)
        assert json.loads(line.result())["message"] == "x" * 100_000
