"""Servers under load: start one, send it photos by wrk, read what it did and what it took.

    command -> started() -> Running: address, seconds to ready, memory
    photo, clients, seconds -> send() -> Load: answers a second, percentiles, refusals

wrk is Debian's package of that name: a client in C, which leaves the cores to the server.
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

_PATIENCE: Final = 180  # seconds for a server to start
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
    """A URL that takes a photo as a form field or as the body."""

    path: str
    field: str | None = None

    def body(self, photo: bytes) -> tuple[bytes, str]:
        """Return the request's body and its content type."""
        if self.field is None:
            return photo, "image/jpeg"
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{self.field}"; '
        head += 'filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        return (
            head.encode() + photo + f"\r\n--{_BOUNDARY}--\r\n".encode(),
            f"multipart/form-data; boundary={_BOUNDARY}",
        )


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        port: Where.
        start: Seconds from its start to its first answer to a photo.
        process: Its first process's number.
    """

    port: int
    start: float
    process: int

    def memory(self) -> float:
        """Return the memory of all its processes in MiB, what they share counted once (PSS)."""
        server = psutil.Process(self.process)
        total = 0
        for process in (server, *server.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total / 2**20


@dataclass(frozen=True)
class Load:
    """Results of a period of sending photos.

    Attributes:
        rate: Photos answered a second.
        p50: Median time of an answer in milliseconds; `p95` and `p99` alike.
        failed: Requests answered otherwise than 200, or not at all.
        sent: Requests answered a second, whatever their status.
    """

    rate: float
    p50: float
    p95: float
    p99: float
    failed: int
    sent: float


def free_port() -> int:
    """Find a port that nobody listens at."""
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
) -> Iterator[Running]:
    """Run a server until the block ends; it has answered a photo when the block begins."""
    with TemporaryDirectory() as home, (Path(home) / "log").open("wb") as log:
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "HOME": home, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            while not _answers(target, photo, port):
                if process.poll() is not None or time.monotonic() - begun > _PATIENCE:
                    raise RuntimeError((Path(home) / "log").read_text()[-3000:])
                time.sleep(0.02)
            yield Running(port, time.monotonic() - begun, process.pid)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(target: Target, photo: bytes, port: int) -> bool:
    body, kind = target.body(photo)
    request = Request(f"http://127.0.0.1:{port}{target.path}", body, {"Content-Type": kind})
    try:
        with urlopen(request, timeout=30) as response:
            return bool(response.status == 200 and b"predictions" in response.read())
    except (URLError, OSError):
        return False


def send(
    target: Target, photo: bytes, port: int, clients: int, seconds: float, pause: float = 0
) -> Load:
    """Send a photo over and over by so many clients, each of which waits for its answer.

    Args:
        target: Where the server takes photos.
        photo: The photo.
        port: The server's.
        clients: How many.
        seconds: How long.
        pause: Seconds that each client waits before it sends, on average: by chance between none
            and twice as many, since clients that wait alike would all send at once.
    """
    body, kind = target.body(photo)
    with TemporaryDirectory() as folder:
        body_file, script = Path(folder) / "body", Path(folder) / "send.lua"
        body_file.write_bytes(body)
        script.write_text(
            f"local BODY, TYPE = {json.dumps(str(body_file))}, {json.dumps(kind)}\n"
            f"local PAUSE = {pause * 1000:.0f}\n{_SCRIPT}"
        )
        threads = str(min(2, clients))
        done = subprocess.run(
            ["wrk", "-t", threads, "-c", str(clients), "-d", f"{seconds:.0f}s", "--timeout", "30s",
             "-s", str(script), f"http://127.0.0.1:{port}{target.path}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    return Load(
        rate=(told["requests"] - told["failed"]) / told["seconds"],
        p50=told["p50"] * 1000,
        p95=told["p95"] * 1000,
        p99=told["p99"] * 1000,
        failed=told["failed"],
        sent=told["requests"] / told["seconds"],
    )
