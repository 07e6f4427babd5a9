"""gunicorn configuration: one process that holds the model, many threads that handle requests.

Values that operators may change are in `app.settings`.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.context import context_of
from app.observability.start_log import log_start
from app.server.address import AddressError, check_address
from app.server.worker import max_connections, raise_descriptor_limit
from app.settings import Settings, SettingsError
from model.control_groups import usable_memory

try:
    _settings = Settings.from_environment(os.environ).fitted(usable_memory())
except SettingsError as error:
    print(f"petalscope: {error}", file=sys.stderr)
    raise SystemExit(1) from None

wsgi_app = "wsgi:app"
proc_name = "petalscope"
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = f"{_host}:{_settings.port}"

# The model exists once, so there is one process. CUDA does not survive a fork, so the worker loads
# the app itself.
workers = 1
worker_class = "app.server.worker.ThreadWorker"
threads = _settings.threads
worker_connections = max_connections(raise_descriptor_limit())
preload_app = False

# Heartbeat timeout of the worker's main loop, long enough to load a checkpoint from a slow disk.
# The app enforces the deadline of a request.
timeout = 120
graceful_timeout = _settings.shutdown_seconds
keepalive = _settings.keep_alive_seconds

# glibc creates up to eight malloc arenas per core, and each keeps the memory of the largest photo
# it has held. Two arenas bound the memory. Blocks above the mmap threshold return to the system at
# once. glibc would raise it to 32 MiB, and keep more than a gigabyte after a load of large photos.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MIB = 1024 * 1024
_MALLOC_OPTIONS = {
    _M_ARENA_MAX: 2,
    _M_MMAP_THRESHOLD: _MIB,
    _M_TRIM_THRESHOLD: 16 * _MIB,
}
# On a CPU, PyTorch allocates the output of each layer, up to 64 MiB. From the system, these would
# take a third of the processor time in page faults. Only the first arena keeps larger blocks.
_MALLOC_OPTIONS_FOR_PYTORCH = {
    _M_ARENA_MAX: 1,
    _M_MMAP_THRESHOLD: 128 * _MIB,
    _M_TRIM_THRESHOLD: 512 * _MIB,
}
with suppress(OSError, AttributeError):  # not glibc
    _mallopt = ctypes.CDLL(None).mallopt
    for _option, _value in (
        _MALLOC_OPTIONS_FOR_PYTORCH if _settings.may_run_pytorch else _MALLOC_OPTIONS
    ).items():
        _mallopt(_option, _value)

# Seconds that the kernel holds back a connection without data (TCP_DEFER_ACCEPT).
_DEFER_ACCEPT_SECONDS = 5

# The heartbeat file: writing to a disk may block, and a container's disk may be read-only.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True

# By default gunicorn takes SCRIPT_NAME and PATH_INFO headers from a proxy on the same machine,
# which forwards them from clients. The path prefix comes as X-Forwarded-Prefix instead.
forwarder_headers = ""

# The worker never waits for a client, and sendfile() would.
sendfile = False

# The app logs requests itself, as JSON on standard output.
accesslog = None
logger_class = "app.observability.log_output.ServerLogger"
loglevel = _settings.log_level


def on_starting(server: Any) -> None:
    """End at once if the service cannot listen. A new master inherits the sockets of the old."""
    if server.LISTENERS or server.master_pid or os.environ.get("LISTEN_FDS"):
        return
    try:
        for address in server.cfg.address:
            if isinstance(address, tuple):  # a path is a Unix socket
                check_address(*address)
    except AddressError as error:
        print(f"petalscope: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def when_ready(server: Any) -> None:
    """Accept connections only once data has arrived (Linux), so that silent ones cost nothing."""
    option = getattr(socket, "TCP_DEFER_ACCEPT", None)
    if option is not None:
        for listener in server.LISTENERS:
            listener.setsockopt(socket.IPPROTO_TCP, option, _DEFER_ACCEPT_SECONDS)


def post_worker_init(worker: Any) -> None:
    """Log the start."""
    log_start(context_of(worker.wsgi), ", ".join(map(str, worker.sockets)))
    exempt_from_garbage_collection()


def exempt_from_garbage_collection() -> None:
    """Exclude the loaded app from garbage collection.

    It is about 200,000 permanent objects, and scanning them stops every thread for 0.1 s.
    """
    gc.collect()
    gc.freeze()


def worker_exit(server: Any, worker: Any) -> None:
    """Answer the photos that still wait. A worker that failed to load the app has no batcher."""
    wsgi = getattr(worker, "wsgi", None)
    if wsgi is None:
        return
    batcher = context_of(wsgi).batcher
    batcher.close()
    if batcher.stalled:
        # At a normal exit, the model's library may wait for its hung threads.
        logging.shutdown()
        os._exit(1)
