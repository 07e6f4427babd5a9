"""Check of the address to listen on, before gunicorn tries it five times."""

from __future__ import annotations

import errno
import socket

from model.errors import PetalscopeError


class AddressError(PetalscopeError):
    """An address that the service cannot listen on."""


def check_address(host: str, port: int) -> None:
    """Check that the service can listen on an address.

    Raises:
        AddressError: The port is in use or needs privileges, or the host is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As gunicorn does: connections of a service that has ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise AddressError(_message(host, port, error)) from error


def _message(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is in use; set PETALSCOPE_PORT to another one, or stop the "
            "program that uses it."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs privileges; set PETALSCOPE_PORT to 1024 or higher."
    return (
        f"The service cannot listen on {host} ({error.strerror}); set PETALSCOPE_HOST to an "
        "address of this machine."
    )
