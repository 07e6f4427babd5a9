"""Detection of disconnected clients, whose photos are dropped."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.inference.client_disconnect import is_connected
from tests.app.conftest import encoded
from tests.app.observability.test_metrics import scrape
from tests.serving import TIMEOUT_SECONDS, free_port, serving, until

PHOTO = encoded()
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
    b"Content-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Connect two sockets: the server's and the client's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        yield server, client


def test_a_client_is_connected_until_it_closes(pair: Pair) -> None:
    server, client = pair
    connected = is_connected({"gunicorn.socket": server})
    assert connected()
    client.close()
    until(lambda: not connected())


def test_pipelined_bytes_are_kept_and_do_not_hide_a_disconnect(pair: Pair) -> None:
    server, client = pair
    connected = is_connected({"gunicorn.socket": server})
    client.sendall(b"GET / HTTP/1.1\r\n")
    server.recv(1, socket.MSG_PEEK)
    assert connected()
    client.close()
    until(lambda: not connected())
    assert server.recv(100) == b"GET / HTTP/1.1\r\n"


def test_a_reset_connection_is_detected(pair: Pair) -> None:
    server, client = pair
    connected = is_connected({"gunicorn.socket": server})
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    until(lambda: not connected())


def test_a_half_closed_connection_counts_as_disconnected(pair: Pair) -> None:
    server, client = pair
    connected = is_connected({"gunicorn.socket": server})
    client.shutdown(socket.SHUT_WR)
    until(lambda: not connected())


def test_tls_data_is_not_consumed(pair: Pair) -> None:
    contexts = [ssl.SSLContext(kind) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)]
    for context in contexts:
        # An anonymous cipher needs no certificate.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AECDH:@SECLEVEL=0")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with ThreadPoolExecutor(1) as thread:
        accepting = thread.submit(contexts[0].wrap_socket, pair[0], server_side=True)
        client = contexts[1].wrap_socket(pair[1])
        server = accepting.result(TIMEOUT_SECONDS)
    with server, client:
        connected = is_connected({"gunicorn.socket": server})
        client.sendall(b"GET / HTTP/1.1")
        assert connected()
        assert server.recv(100) == b"GET / HTTP/1.1"
        assert connected()
        # Browsers and curl send close_notify before they close the socket.
        client.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
        client.close()
        until(lambda: not connected())


def test_a_socket_closed_by_the_server_counts_as_disconnected(pair: Pair) -> None:
    server, _ = pair
    connected = is_connected({"gunicorn.socket": server})
    server.close()
    assert not connected()


def test_without_gunicorn_every_client_counts_as_connected() -> None:
    assert is_connected({})()


BLOCKING = """
import os, time
from pathlib import Path
from app import create_app
from app.settings import Settings
from model.classifier import Classifier

settings = Settings.from_environment(os.environ)
classifier = Classifier.load(settings.checkpoint, "cpu", threads=1)  # so that one call warms up
outputs, calls = classifier.outputs, 0
folder = Path(os.environ["BLOCKING"])

def blocking(batch):
    global calls
    calls += 1
    if calls > 1:
        (folder / f"run{calls - 1}").touch()
    while calls > 1 and not (folder / "release").exists():
        time.sleep(0.01)
    return outputs(batch)

classifier.outputs = blocking
app = create_app(settings, classifier)
"""


@pytest.mark.slow
def test_photos_of_disconnected_clients_are_not_run(tmp_path: Path, tiny_onnx: Path) -> None:
    (tmp_path / "blocking.py").write_text(BLOCKING)
    metrics = free_port()
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PETALSCOPE_METRICS_PORT": str(metrics),
        "PYTHONPATH": str(tmp_path),
        "BLOCKING": str(tmp_path),
    }

    def in_flight() -> float:
        return scrape(metrics)["photos_in_flight", ()]

    with serving(tmp_path, "blocking:app", **settings) as server, ExitStack() as clients:

        def send() -> socket.socket:
            client = socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS)
            clients.enter_context(client)
            client.sendall(REQUEST)
            return client

        first = send()
        until((tmp_path / "run1").exists)
        disconnecting = [send() for _ in range(4)]
        until(lambda: in_flight() == 5)
        for client in disconnecting:
            client.close()
        (tmp_path / "release").touch()
        assert first.recv(100).startswith(b"HTTP/1.1 200")
        until(lambda: in_flight() == 0)
        assert scrape(metrics)["photos_refused_total", (("reason", "abandoned"),)] == 4
        assert "Traceback" not in server.error_log
    assert not (tmp_path / "run2").exists()
