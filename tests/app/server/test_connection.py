"""A client's socket, which never waits and saves system calls."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from app.server.connection import ClientSocket

_HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def sockets() -> Iterator[tuple[ClientSocket, socket.socket]]:
    accepted, client = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    server = ClientSocket(accepted)
    client.setblocking(False)
    with closing(server), closing(client):
        yield server, client


def test_a_held_head_is_sent_with_its_body(sockets: tuple[ClientSocket, socket.socket]) -> None:
    server, client = sockets
    server.hold()
    server.sendall(_HEAD)
    with pytest.raises(BlockingIOError):
        client.recv(100)
    server.sendall(b"body")
    server.sendall(b", more")
    server.release()
    assert client.recv(100) == _HEAD + b"body, more"


def test_a_head_without_a_body_is_sent_at_the_end(
    sockets: tuple[ClientSocket, socket.socket],
) -> None:
    server, client = sockets
    server.hold()
    server.sendall(_HEAD)
    server.release()
    assert client.recv(100) == _HEAD


def test_nothing_is_held_after_a_request_without_a_response(
    sockets: tuple[ClientSocket, socket.socket],
) -> None:
    server, client = sockets
    server.hold()
    server.release()
    server.sendall(_HEAD)
    assert client.recv(100) == _HEAD


def test_a_held_head_of_a_closed_socket_is_lost(
    sockets: tuple[ClientSocket, socket.socket],
) -> None:
    server, client = sockets
    server.hold()
    server.sendall(_HEAD)
    server.close()
    server.release()
    assert client.recv(100) == b""


def test_what_the_client_does_not_take_is_kept_in_order(
    sockets: tuple[ClientSocket, socket.socket],
) -> None:
    server, client = sockets
    body = bytes(range(256)) * 20_000
    server.setblocking(True)  # as gunicorn does before a request
    server.hold()
    server.sendall(_HEAD)
    server.sendall(body)
    server.release()
    assert server.unsent
    received = b""
    while len(received) < len(_HEAD) + len(body):
        received += client.recv(1 << 20)
        server.send_rest()
    assert received == _HEAD + body
