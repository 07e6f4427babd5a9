"""How gunicorn serves the app: one process that holds the model, many threads that hold requests.

All that can be set is in `app.settings`; this file only says it in gunicorn's words.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.context import context_of
from app.settings import Settings, SettingsError

try:
    _settings = Settings.from_environment(os.environ)
except SettingsError as error:
    print(f"petalscope: {error}", file=sys.stderr)
    raise SystemExit(1) from None

wsgi_app = "wsgi:app"
proc_name = "petalscope"
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = f"{_host}:{_settings.port}"

# One model a process, one process a GPU; the app is loaded in the worker, as CUDA demands.
workers = 1
worker_class = "gthread"
threads = _settings.threads
preload_app = False

# Not a limit for requests, which the app has, but how long the worker's main loop may be silent:
# loading a large checkpoint on a slow disk is part of that.
timeout = 120
# A request under way at SIGTERM is answered: it may need its whole time, and its answer some more.
graceful_timeout = math.ceil(_settings.request_timeout_seconds) + 20
keepalive = 5

# Threads share two of glibc's pools of memory. It would make up to eight a core, each of which
# keeps room for the largest photos that came its way: memory would rise until all have had some.
_M_ARENA_MAX = -8
with suppress(OSError, AttributeError):  # other systems have other pools
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)

# Seconds that the kernel keeps a connection on which nothing has come yet to itself.
_SILENCE = 5

# The heartbeat's file: on a disk it may block, and in a container the disk may be read-only.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True

# A proxy on this machine passes on what clients send, and by these headers they would choose a path
# behind its back; a prefix comes as X-Forwarded-Prefix.
forwarder_headers = ""

# The app logs its requests itself, as JSON on standard output.
accesslog = None
loglevel = _settings.log_level


def when_ready(server: Any) -> None:
    """Take connections when a request is there: until it comes, each would hold a thread.

    Many that open at once, as clients do when they find the service busy, would make those wait who
    have sent theirs. Only Linux can do so.
    """
    option = getattr(socket, "TCP_DEFER_ACCEPT", None)
    if option is not None:
        for listener in server.LISTENERS:
            listener.setsockopt(socket.IPPROTO_TCP, option, _SILENCE)


def post_worker_init(worker: Any) -> None:
    """Take all that was loaded out of what Python's garbage collection looks through.

    It is some 200,000 objects, which stay; to look through them holds every thread for 0.1 s.
    """
    gc.collect()
    gc.freeze()


def worker_exit(server: Any, worker: Any) -> None:
    """Let the batcher answer what still waits. A worker that did not load its app has none."""
    served = getattr(worker, "wsgi", None)
    if served is not None:
        context_of(served).batcher.close()
