from __future__ import annotations

import json
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from app.observability.metrics import LOG_LINES_DROPPED
from tests.app.conftest import MakeApp, form


def output(capsys: pytest.CaptureFixture[str]) -> str:
    (handler,) = logging.getLogger("app").handlers
    handler.flush()
    return capsys.readouterr().out


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output(capsys).splitlines()]


def test_a_request_is_one_line_with_its_durations(
    client: FlaskClient, photo: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    client.post(
        "/predict?top_k=1",
        data=photo,
        content_type="image/jpeg",
        headers={"X-Request-ID": "abc-123"},
    )
    (line,) = lines(capsys)
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


def test_a_refused_request_is_logged_with_what_is_known(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.post("/predict", data=b"words", content_type="text/plain")
    client.get("/nowhere")
    refused, missing = lines(capsys)
    assert (refused["status"], refused["bytes_in"]) == (415, 5)
    assert (missing["status"], missing["bytes_in"]) == (404, 0)
    assert "decode_ms" not in refused


def test_nothing_a_client_sends_can_break_or_forge_a_line(
    client: FlaskClient, photo: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    nasty = '/a"}\n{"status": 200, "forged": "\r\u2028\x1b[2J\0\ud83d\ude00' + "x" * 5000
    client.get(quote(nasty, safe="/", errors="surrogatepass"))
    client.open("/", method='GET"\n{}' + "M" * 1000)
    client.post("/predict", **form(photo, name='a"\n{"forged": 1}.jpg'))
    written = output(capsys)
    assert written.isascii()
    assert written.count("\n") == 3
    for line in written.splitlines():
        assert "forged" not in json.loads(line)
        assert len(line) < 2500


def test_an_unhandled_fault_is_one_line_with_its_trace_and_id(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app()

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("first\nsecond")

    app.test_client().get("/broken", headers={"X-Request-ID": "abc"})
    fault, request = lines(capsys)
    assert fault["level"] == "error"
    assert fault["id"] == request["id"] == "abc"
    assert "RuntimeError: first\nsecond" in fault["exception"]
    assert request["status"] == 500


def test_health_checks_are_logged_at_debug_level_alone(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("/healthz", "/readyz"):
        make_app(log_level="info").test_client().get(path)
        assert lines(capsys) == []
        make_app(log_level="debug").test_client().get(path)
        assert [line["path"] for line in lines(capsys)] == [path]


def test_a_higher_log_level_leaves_requests_out(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app(log_level="warning").test_client().get("/labels")
    assert lines(capsys) == []


def test_a_line_is_written_once_however_many_apps_were_made(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    clients = [make_app().test_client() for _ in range(3)]
    clients[0].get("/labels")
    assert len(lines(capsys)) == 1


def test_lines_that_come_at_once_are_each_written_in_their_order(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [f"request-{number}" for number in range(200)]
    for given in ids:
        client.get("/labels", headers={"X-Request-ID": given})
    assert [line["id"] for line in lines(capsys)] == ids


def test_what_is_logged_while_the_writer_ends_is_written(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()

    def ask() -> int:
        count = 0
        while not ended.is_set():
            client.get("/labels")
            count += 1
        return count

    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask)
        written = [len(lines(capsys)) for _ in range(5)]
        ended.set()
    written.append(len(lines(capsys)))
    assert sum(written) == asked.result() > 0


def test_a_request_does_not_wait_for_whoever_reads_the_log(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = threading.Event()

    class Blocked:
        def write(self, text: str) -> int:
            assert read.wait(60)
            return len(text)

        def flush(self) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Blocked())
        assert client.get("/labels").status_code == 200
        read.set()
        output(capsys)


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 64])
def test_a_safe_request_id_comes_back(client: FlaskClient, given: str) -> None:
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
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.get("/v1/labels")
    (line,) = lines(capsys)
    assert line["path"] == "/v1/labels"


def dropped_lines() -> float:
    (family,) = LOG_LINES_DROPPED.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_total"))


def test_a_stalled_output_drops_lines_instead_of_growing_memory(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resume = threading.Event()

    class Stalled:
        def write(self, text: str) -> int:
            assert resume.wait(60)
            return len(text)

        def flush(self) -> None:
            pass

    before = dropped_lines()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Stalled())
        for _ in range(11_000):
            logging.getLogger("app.test").warning("line")
        assert 900 <= dropped_lines() - before <= 1_000
        resume.set()
        output(capsys)


def test_a_closed_output_drops_lines_without_a_traceback(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed:
        def write(self, text: str) -> int:
            raise BrokenPipeError

    before = dropped_lines()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        assert client.get("/labels").status_code == 200
        output(capsys)
    assert dropped_lines() == before + 1
    assert capsys.readouterr().err == ""
