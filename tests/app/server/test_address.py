"""Check of the address to listen on."""

from __future__ import annotations

import socket

import pytest

from app.server.address import AddressError, check_address
from tests.serving import free_port


def test_a_free_port_is_left_free() -> None:
    port = free_port()
    for _ in range(2):
        check_address("127.0.0.1", port)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_in_use_names_its_setting(family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server, pytest.raises(AddressError, match="PETALSCOPE_PORT"):
        check_address(host, server.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_of_another_machine_names_its_setting(host: str) -> None:
    with pytest.raises(AddressError, match="PETALSCOPE_HOST"):
        check_address(host, free_port())


def test_a_privileged_port_names_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(AddressError, match="1024"):
        check_address("127.0.0.1", 80)
