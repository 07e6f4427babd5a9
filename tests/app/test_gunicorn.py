"""The service in gunicorn: connections, chunked bodies, signals, exit codes."""

from __future__ import annotations

import gzip
import hashlib
import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from model import __version__
from tests.app.conftest import encoded, form
from tests.conftest import ROOT
from tests.serving import (
    TIMEOUT_SECONDS,
    Server,
    begin_upload,
    environment,
    free_port,
    read_json,
    read_response,
    serving,
    until,
)

pytestmark = pytest.mark.slow

PHOTO = encoded()
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Server]:
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_checkpoint),
        "PETALSCOPE_DEVICE": "cpu",
        "PETALSCOPE_MAX_BODY_MIB": "2",
    }
    with serving(tmp_path_factory.mktemp("server"), **settings) as server:
        yield server


def test_a_photo_is_classified(server: Server) -> None:
    status, body = server.post(PHOTO)
    assert status == 200
    assert len(body["predictions"]) == 5


def chunks(data: bytes) -> Iterator[bytes]:
    """Yield a body without a length, which `http.client` sends chunked."""
    for at in range(0, len(data), 50_000):
        yield data[at : at + 50_000]


def test_a_chunked_body_gets_the_same_result(server: Server) -> None:
    expected = server.post(PHOTO)[1]["predictions"]
    photo = form(PHOTO)
    for body, content_type in ((PHOTO, "image/jpeg"), (photo["data"], photo["content_type"])):
        status, got = server.request(
            "POST", "/predict", chunks(body), {"Content-Type": content_type}
        )
        assert status == 200
        assert got["predictions"] == expected


def test_a_client_that_sends_a_body_above_the_limit_can_read_the_refusal(server: Server) -> None:
    large = form(b"\xff" * (8 * MIB))
    refused = (
        (b"\xff" * (8 * MIB), "image/jpeg"),
        (chunks(b"\xff" * (8 * MIB)), "image/jpeg"),
        (large["data"], large["content_type"]),
        (chunks(large["data"]), large["content_type"]),
    )
    for body, content_type in refused:
        # http.client sends the whole body before it reads.
        status, got = server.request("POST", "/predict", body, {"Content-Type": content_type})
        assert status == 413
        assert got["code"] == "too_large"
        assert server.post(PHOTO)[0] == 200


def test_a_client_that_sends_an_unexpected_body_can_read_the_refusal(server: Server) -> None:
    body = b"\xff" * (4 * MIB)
    assert server.request("POST", "/nowhere", body)[0] == 404
    assert server.request("DELETE", "/predict", body)[0] == 405
    assert server.request("POST", "/predict", body, {"Origin": "https://evil.example"})[0] == 403


def test_a_connection_serves_several_requests(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    local = None
    for status, body, content_type in (
        (200, PHOTO, "image/jpeg"),
        (415, b"words", "image/jpeg"),
        (415, PHOTO, "text/plain"),
        (200, PHOTO, "image/jpeg"),
    ):
        connection.request("POST", "/predict", body, {"Content-Type": content_type})
        assert read_json(connection.getresponse())[0] == status
        assert local in (None, connection.sock.getsockname())
        local = connection.sock.getsockname()
    connection.close()


@pytest.mark.parametrize("length", [b"%031d", b"1%031d"], ids=["leading zeros", "32 digits"])
def test_no_part_of_a_body_with_a_long_length_becomes_a_request(
    server: Server, length: bytes
) -> None:
    hidden = b"GET /labels HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(head % (length % len(hidden)))
        # The worker responds before the body only if it misreads the length.
        select.select([connection], [], [], 0.5)
        connection.sendall(hidden)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    assert received.count(b"HTTP/1.1 ") == 1


def test_a_client_with_http_1_0_gets_no_interim_response(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        assert not select.select([connection], [], [], 0.5)[0]
        connection.sendall(b"words")
        assert b" 415 " in connection.recv(65536)


def test_a_connection_serves_compressed_responses(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    for path in ("/static/page.js", "/flowers", "/v1/openapi.json"):
        sizes, etag = {}, ""
        for encoding in ("identity", "gzip", "br", "zstd"):
            for method, known, status in (("GET", "", 200), ("HEAD", "", 200), ("GET", "=", 304)):
                headers = {"Accept-Encoding": encoding, "If-None-Match": known and etag}
                connection.request(method, path, headers=headers)
                response = connection.getresponse()
                body = response.read()
                assert response.status == status
                etag = response.headers["ETag"]
                if status == 304:
                    continue
                assert response.headers.get("Content-Encoding", "identity") == encoding
                sizes[encoding] = int(response.headers["Content-Length"])
                if encoding == "gzip" and body:
                    body = gzip.decompress(body)
                    assert len(body) == sizes["identity"]
        assert max(sizes["gzip"], sizes["br"], sizes["zstd"]) < 0.5 * sizes["identity"]
    connection.close()


def test_headers_cannot_replace_the_path_that_a_proxy_has_seen(server: Server) -> None:
    # By default gunicorn accepts these headers from the same machine, and so from a local proxy.
    for headers in ({"PATH_INFO": "/labels"}, {"SCRIPT_NAME": "/healthz"}, {"SCRIPT_NAME": "/x"}):
        assert server.request("GET", "/healthz", headers=headers) == (200, {"status": "alive"})


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /predict HTTP/1.1\r\nHost: a b\r\nContent-Length: 0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 10_000),
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_a_malformed_request_gets_a_4xx_or_a_closed_connection(server: Server, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert b"Traceback" not in received
    assert not received or b" 4" in received.splitlines()[0]
    assert "Traceback" not in server.error_log
    assert server.post(PHOTO)[0] == 200


def test_clients_that_disconnect_during_an_upload_affect_no_other(server: Server) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: 100000\r\n\r\nabc"
            )
    assert server.post(PHOTO)[0] == 200
    assert "Traceback" not in server.error_log


def test_silent_connections_delay_no_other(server: Server) -> None:
    address = ("127.0.0.1", server.port)
    with ExitStack() as connections:
        for _ in range(600):
            connections.enter_context(socket.create_connection(address, timeout=60))
        connection = connections.enter_context(closing(HTTPConnection(*address, timeout=60)))
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_standard_output_has_only_json_lines(server: Server) -> None:
    server.post(PHOTO)
    until(lambda: server.log[-1].get("path") == "/predict")
    assert {line["message"] for line in server.log} == {"started", "request"}


def test_the_start_is_one_line_with_what_runs_and_where(
    server: Server, tiny_checkpoint: Path
) -> None:
    (started,) = [line for line in server.log if line["message"] == "started"]
    assert started["level"] == "info"
    assert started["version"] == __version__
    assert (started["model"], started["checkpoint"]) == ("test_efficientnet", tiny_checkpoint.name)
    digest = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    assert digest.startswith(started["checkpoint_version"])
    assert (started["backend"], started["device"]) == ("pytorch", "cpu")
    assert started["threads"] >= 1
    assert started["max_body_mib"] == 2
    assert started["address"] == f"http://127.0.0.1:{server.port}"


def test_a_port_in_use_stops_the_start_at_once(server: Server, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn"],
        cwd=ROOT,
        env=environment(tmp_path, PETALSCOPE_PORT=str(server.port)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert "connection to" not in result.stderr  # an attempt of gunicorn
    (line,) = [line for line in result.stderr.splitlines() if "PETALSCOPE_PORT" in line]
    assert line.startswith("petalscope: ")
    assert str(server.port) in line


def test_the_service_writes_no_file(server: Server) -> None:
    assert {path.name for path in server.folder.iterdir()} == {"out", "err"}


def test_a_request_in_flight_at_sigterm_gets_its_response(tmp_path: Path, tiny_onnx: Path) -> None:
    with serving(tmp_path, PETALSCOPE_CHECKPOINT=str(tiny_onnx)) as server:
        with begin_upload(server.port, len(PHOTO)) as connection:
            server.process.send_signal(signal.SIGTERM)
            # A stopping worker leaves new connections in the backlog.
            until(lambda: not server.is_ready(timeout=0.5))
            connection.sendall(PHOTO)
            assert read_response(connection)[0] == 200
        assert server.process.wait(TIMEOUT_SECONDS) == 0
        assert "Traceback" not in server.error_log


FAILS_ONCE = """
import os
import time
from pathlib import Path
from app import create_app
from app.settings import Settings
from model.classifier import Classifier

settings = Settings.from_environment(os.environ)
classifier = Classifier.load(settings.checkpoint, "cpu", threads=1)  # so that one call warms up
outputs, calls = classifier.outputs, 0
mark = Path(os.environ["MARK"])

def fail_once(batch):
    global calls
    calls += 1
    if calls > 1 and not mark.exists():
        mark.touch()
        if "HANG" in os.environ:
            time.sleep(3600)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return outputs(batch)

classifier.outputs = fail_once
app = create_app(settings, classifier)
"""


def test_a_worker_whose_model_fails_responds_and_is_replaced(
    tmp_path: Path, tiny_onnx: Path
) -> None:
    (tmp_path / "fails_once.py").write_text(FAILS_ONCE)
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PYTHONPATH": str(tmp_path),
        "MARK": str(tmp_path / "mark"),
    }
    with serving(tmp_path, "fails_once:app", **settings) as server:
        status, body = server.post(PHOTO)
        assert status == 500
        assert "CUDA" not in json.dumps(body)
        until(server.is_ready)
        assert server.post(PHOTO)[0] == 200
        critical = [line for line in server.log if line["level"] == "critical"]
        assert len(critical) == 1
        assert "illegal memory access" in critical[0]["exception"]
        assert server.error_log.count("Booting worker") == 2


def test_a_worker_whose_model_hangs_responds_and_is_replaced(
    tmp_path: Path, tiny_onnx: Path
) -> None:
    (tmp_path / "fails_once.py").write_text(FAILS_ONCE)
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PETALSCOPE_BATCH_TIMEOUT_SECONDS": "1",
        "PETALSCOPE_REQUEST_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "PYTHONPATH": str(tmp_path),
        "MARK": str(tmp_path / "mark"),
        "HANG": "1",
    }
    with serving(tmp_path, "fails_once:app", **settings) as server:
        status, body = server.post(PHOTO)
        assert (status, body["code"]) == (503, "model_stalled")
        until(server.is_ready)
        assert server.post(PHOTO)[0] == 200
        assert [line["level"] for line in server.log].count("critical") == 1
        assert server.error_log.count("Booting worker") == 2


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        ({"PETALSCOPE_CHECKPOINT": "/nowhere/none.onnx"}, "/nowhere/none.onnx"),
        ({"PETALSCOPE_PROT": "80"}, "PETALSCOPE_PROT"),
        ({"PETALSCOPE_REQUEST_TIMEOUT_SECONDS": "soon"}, "PETALSCOPE_REQUEST_TIMEOUT_SECONDS"),
        ({"PETALSCOPE_DEVICE": "cuda:99"}, "cuda:99"),
    ],
)
def test_a_bad_configuration_stops_the_start_with_one_line(
    tmp_path: Path, settings: dict[str, str], fragment: str
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn"],
        cwd=ROOT,
        env=environment(tmp_path, PETALSCOPE_PORT=str(free_port())) | settings,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stdout + result.stderr
    (line,) = [line for line in result.stderr.splitlines() if fragment in line]
    assert line.startswith("petalscope: ")
