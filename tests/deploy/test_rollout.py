"""A rollout of two services behind nginx, in the order in which Kubernetes replaces a pod."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.app.conftest import encoded
from tests.nginx_server import running_nginx
from tests.redis_server import running_redis
from tests.serving import TIMEOUT_SECONDS, Server, free_port, serving, until

CLIENTS = 4
PRE_STOP_SECONDS = 1
PHOTOS_PER_DAY = 6

_SCRIPT = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "image/jpeg"
local file = io.open("{photo}", "rb")
wrk.body = file:read("*all")
file:close()
done = function(summary)
    local errors = summary.errors
    io.write(string.format(
        '{{"answered": %d, "status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}}',
        summary.requests, errors.status, errors.connect, errors.read, errors.write, errors.timeout
    ))
end
"""

pytestmark = [pytest.mark.slow, pytest.mark.nginx]


def balancer(port: int, *services: Server) -> str:
    """Return nginx's `http` block: a balancer before services.

    It closes each connection, because a client cannot repeat a POST on a connection that nginx
    closes while it reloads.
    """
    servers = "".join(f"server 127.0.0.1:{service.port};" for service in services)
    return f"""
        upstream petalscope {{ {servers} }}
        server {{
            listen 127.0.0.1:{port};
            keepalive_timeout 0;
            location / {{
                proxy_pass http://petalscope;
                proxy_next_upstream off;
                proxy_set_header X-Forwarded-For $remote_addr;
            }}
        }}
    """


class Load:
    """wrk, which sends photos until it is stopped."""

    def __init__(self, folder: Path, port: int) -> None:
        photo, script = folder / "photo.jpg", folder / "send.lua"
        photo.write_bytes(encoded())
        script.write_text(_SCRIPT.format(photo=photo))
        self._process = subprocess.Popen(
            [
                *("wrk", "--threads", "1", "--connections", str(CLIENTS), "--duration", "1h"),
                *("--timeout", f"{TIMEOUT_SECONDS}s", "--script", str(script)),
                f"http://127.0.0.1:{port}/predict",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> dict[str, int]:
        """Return the number of answered requests, and of errors by kind."""
        self._process.send_signal(signal.SIGINT)
        output, _ = self._process.communicate(timeout=TIMEOUT_SECONDS)
        counts: dict[str, int] = json.loads(output[output.index("{") :])
        return counts


@contextmanager
def loading(folder: Path, port: int) -> Iterator[Load]:
    load = Load(folder, port)
    try:
        yield load
    finally:
        load.kill()


def photos_classified(service: Server) -> int:
    return sum(line.get("path") == "/predict" for line in service.log)


def stop_as_a_pod(service: Server) -> None:
    """Stop a service that receives no more connections: preStop, SIGTERM, end."""
    time.sleep(PRE_STOP_SECONDS)
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(TIMEOUT_SECONDS) == 0


@pytest.mark.wrk
def test_a_rollout_under_load_fails_no_request(tmp_path: Path, tiny_onnx: Path) -> None:
    port = free_port()
    with ExitStack() as stack:

        def started(name: str) -> Server:
            (tmp_path / name).mkdir()
            settings = {"PETALSCOPE_CHECKPOINT": str(tiny_onnx)}
            return stack.enter_context(serving(tmp_path / name, **settings))

        old = [started("old0"), started("old1")]
        nginx = stack.enter_context(running_nginx(tmp_path, balancer(port, *old), port))
        load = stack.enter_context(loading(tmp_path, port))
        until(lambda: all(photos_classified(service) > 5 for service in old))
        new = [started("new0")]
        nginx.reload(balancer(port, old[1], new[0]))
        stop_as_a_pod(old[0])
        new.append(started("new1"))
        nginx.reload(balancer(port, *new))
        stop_as_a_pod(old[1])
        until(lambda: all(photos_classified(service) > 5 for service in new))
        counts = load.stop()
    print(counts)
    assert counts.pop("answered") > 20
    assert set(counts.values()) == {0}


@pytest.mark.redis
def test_services_with_one_redis_hold_one_limit(tmp_path: Path, tiny_onnx: Path) -> None:
    port, photo = free_port(), encoded()
    with running_redis(tmp_path) as redis, ExitStack() as stack:
        settings = {
            "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
            "PETALSCOPE_PROXY_COUNT": "1",
            "PETALSCOPE_RATE_LIMITS": f"{PHOTOS_PER_DAY}/day",
            "PETALSCOPE_RATE_LIMIT_STORAGE_URI": redis.uri,
        }
        services = []
        for name in ("0", "1"):
            (tmp_path / name).mkdir()
            services.append(stack.enter_context(serving(tmp_path / name, **settings)))
        stack.enter_context(running_nginx(tmp_path, balancer(port, *services), port))
        statuses = []
        for _ in range(2 * PHOTOS_PER_DAY):
            connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
            connection.request("POST", "/predict", photo, {"Content-Type": "image/jpeg"})
            statuses.append(connection.getresponse().status)
            connection.close()
        assert all(photos_classified(service) > 0 for service in services)
    assert Counter(statuses) == {200: PHOTOS_PER_DAY, 429: PHOTOS_PER_DAY}
