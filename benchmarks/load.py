"""Load generation: server processes, and photos sent by wrk.

wrk (Debian package `wrk`) is a client in C, which leaves the CPU to the server.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

_START_SECONDS: Final = 180
_BOUNDARY: Final = "petalscope-benchmark"
_SCRIPT: Final = """
local file = io.open(BODY, "rb")
wrk.method = "POST"
wrk.body = file:read("*all")
wrk.headers["Content-Type"] = TYPE
if PAUSE > 0 then delay = function() return 2 * PAUSE * math.random() end end
done = function(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.timeout + summary.errors.read
    + summary.errors.connect + summary.errors.write
  io.stdout:write(string.format(
    '\\n{"requests": %d, "failed": %d, "seconds": %f, "p50": %f, "p95": %f, "p99": %f}\\n',
    summary.requests, failed, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(95) / 1e6, latency:percentile(99) / 1e6))
end
"""


@dataclass(frozen=True)
class Target:
    """A path that accepts a photo, as a form field or as the body."""

    path: str
    field: str | None = None

    def body(self, photo: bytes) -> tuple[bytes, str]:
        """Return the request body and its Content-Type."""
        if self.field is None:
            return photo, "image/jpeg"
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{self.field}"; '
        head += 'filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        return (
            head.encode() + photo + f"\r\n--{_BOUNDARY}--\r\n".encode(),
            f"multipart/form-data; boundary={_BOUNDARY}",
        )


@dataclass(frozen=True)
class ServerProcess:
    """A running server.

    Attributes:
        port: Port on the loopback interface.
        start: Seconds from the start to the first classified photo.
        pid: ID of its first process.
    """

    port: int
    start: float
    pid: int

    def memory(self) -> float:
        """Return the memory of all its processes in MiB, with shared pages counted once (PSS)."""
        total = 0
        for process in self._processes():
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total / 2**20

    def cpu_seconds(self) -> float:
        """Return the CPU time that all its running processes have used so far."""
        total = 0.0
        for process in self._processes():
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _processes(self) -> list[psutil.Process]:
        server = psutil.Process(self.pid)
        return [server, *server.children(recursive=True)]


@dataclass(frozen=True)
class Load:
    """Results of sending photos for some time.

    Attributes:
        rate: Responses with status 200 per second.
        p50: Median response time in milliseconds; `p95` and `p99` are percentiles.
        failed: Requests with another status or without a response.
        sent: Requests per second, whatever their status.
    """

    rate: float
    p50: float
    p95: float
    p99: float
    failed: int
    sent: float


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def started(
    command: Sequence[str],
    target: Target,
    photo: bytes,
    port: int,
    environment: Mapping[str, str],
    folder: Path,
) -> Iterator[ServerProcess]:
    """Run a server until the block ends; the block begins once it has classified a photo.

    Raises:
        RuntimeError: The server ended or was not ready in time. The text is the end of its log.
    """
    with TemporaryDirectory() as home, (Path(home) / "log").open("wb") as log:
        started_at = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "HOME": home, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            while not _is_ready(target, photo, port):
                if process.poll() is not None or time.monotonic() - started_at > _START_SECONDS:
                    raise RuntimeError((Path(home) / "log").read_text()[-3000:])
                time.sleep(0.02)
            yield ServerProcess(port, time.monotonic() - started_at, process.pid)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_ready(target: Target, photo: bytes, port: int) -> bool:
    body, content_type = target.body(photo)
    request = Request(f"http://127.0.0.1:{port}{target.path}", body, {"Content-Type": content_type})
    try:
        with urlopen(request, timeout=30) as response:
            return bool(response.status == 200 and b"predictions" in response.read())
    except (URLError, OSError):
        return False


def send(
    target: Target, photo: bytes, port: int, clients: int, seconds: float, pause: float = 0
) -> Load:
    """Send a photo repeatedly from several clients; each waits for its response.

    Args:
        target: Path and form field of the server.
        photo: JPEG file.
        port: Port of the server.
        clients: Number of concurrent clients.
        seconds: Duration.
        pause: Mean pause of a client before each request, in seconds. Pauses are drawn uniformly
            from 0 to twice the mean, so that the clients do not send in step.
    """
    body, content_type = target.body(photo)
    with TemporaryDirectory() as folder:
        body_file, script = Path(folder) / "body", Path(folder) / "send.lua"
        body_file.write_bytes(body)
        script.write_text(
            f"local BODY, TYPE = {json.dumps(str(body_file))}, {json.dumps(content_type)}\n"
            f"local PAUSE = {pause * 1000:.0f}\n{_SCRIPT}"
        )
        threads = str(min(2, clients))
        done = subprocess.run(
            ["wrk", "-t", threads, "-c", str(clients), "-d", f"{seconds:.0f}s", "--timeout", "30s",
             "-s", str(script), f"http://127.0.0.1:{port}{target.path}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    summary = json.loads(done.stdout.splitlines()[-1])
    return Load(
        rate=(summary["requests"] - summary["failed"]) / summary["seconds"],
        p50=summary["p50"] * 1000,
        p95=summary["p95"] * 1000,
        p99=summary["p99"] * 1000,
        failed=summary["failed"],
        sent=summary["requests"] / summary["seconds"],
    )
