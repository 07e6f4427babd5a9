"""Prometheus metrics, and the HTTP server that exposes them.

The server has its own address, which need not be public, and its own threads: it also answers
/healthz and /readyz while every thread of the service is busy.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric

from model.errors import PetalscopeError

_SECONDS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
# Clients can invent methods, and each would be a time series for good.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})


# One counter for all apps: logging belongs to the process.
LOG_LINES_DROPPED: Final = Counter(
    "petalscope_log_lines_dropped",
    "Log lines dropped because standard output was stalled or closed.",
    registry=None,
)


class MetricsPortError(PetalscopeError):
    """Failure to listen on the metrics port."""


class Metrics:
    """Metrics of one app, in their own registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "petalscope_http_requests",
            "HTTP requests.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "petalscope_http_request_duration_seconds",
            "Time from the request headers to the response, including the upload.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._steps = Histogram(
            "petalscope_photo_duration_seconds",
            "Time of a photo by step: decode, wait (for the model), inference.",
            ("step",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "petalscope_batch_size_photos",
            "Photos per model batch.",
            buckets=_BATCH_SIZES,
            registry=self._registry,
        )
        self._refused = Counter(
            "petalscope_photos_refused",
            "Photos that the service failed to classify, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self._verdicts = Counter(
            "petalscope_photos_answered",
            "Photos classified, by verdict: known, unsure, unknown or unchecked.",
            ("verdict",),
            registry=self._registry,
        )
        self._registry.register(LOG_LINES_DROPPED)
        ProcessCollector(registry=self._registry)

    def describe(self, model: Mapping[str, str], limit: int, in_flight: Callable[[], int]) -> None:
        """Register the model and where it runs, and the number of photos in flight.

        Args:
            model: Labels of `petalscope_model_info`.
            limit: Maximum number of photos in flight.
            in_flight: Returns the current number of photos in flight.
        """
        Info("petalscope_model", "Served model and where it runs.", registry=self._registry).info(
            dict(model)
        )
        Gauge(
            "petalscope_photos_in_flight_limit",
            "Maximum number of photos in flight.",
            registry=self._registry,
        ).set(limit)
        Gauge(
            "petalscope_photos_in_flight", "Photos in flight.", registry=self._registry
        ).set_function(in_flight)

    def collect(self) -> Iterable[Metric]:
        """Return every metric with its current values."""
        return self._registry.collect()

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is the matched URL rule, not the requested path."""
        known_method = method if method in _METHODS else "other"
        self._requests.labels(known_method, route, status).inc()
        self._durations.labels(route).observe(seconds)

    def step_done(self, step: str, seconds: float) -> None:
        """Record the duration of one step of a photo."""
        self._steps.labels(step).observe(seconds)

    def batch_done(self, photos: int) -> None:
        """Record the size of a batch."""
        self._batches.observe(photos)

    def photos_refused(self, reason: str, photos: int) -> None:
        """Count the photos of a request that were not classified."""
        self._refused.labels(reason).inc(photos)

    def photo_answered(self, verdict: str) -> None:
        """Count a classified photo by its verdict."""
        self._verdicts.labels(verdict).inc()

    def serve(self, host: str, port: int, ready: Callable[[], bool]) -> None:
        """Serve /metrics, /healthz and /readyz on daemon threads.

        The port is shared (SO_REUSEPORT): two workers overlap while gunicorn replaces one.

        Args:
            host: Address to listen on.
            port: Port to listen on.
            ready: Returns True if the service accepts photos.

        Raises:
            MetricsPortError: The port is taken, or the address is not available.
        """
        try:
            server = _server(host, port, self._registry, ready)
        except OSError as error:
            raise MetricsPortError(
                f"The metrics server cannot listen on {host} port {port} ({error.strerror}); set "
                "PETALSCOPE_METRICS_HOST and PETALSCOPE_METRICS_PORT to others."
            ) from error
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _server(
    host: str, port: int, registry: CollectorRegistry, ready: Callable[[], bool]
) -> ThreadingTCPServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds that a silent client may hold a thread

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._send(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                case "/healthz":
                    self._send(200, b"alive\n")
                case "/readyz" if ready():
                    self._send(200, b"ready\n")
                case "/readyz":
                    self._send(503, b"not ready\n")
                case _:
                    self._send(404, b"Available: /metrics, /healthz, /readyz\n")

        def do_HEAD(self) -> None:
            self.do_GET()

        def _send(self, status: int, body: bytes, content_type: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def version_string(self) -> str:
            return "petalscope"  # without Python's version

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - base class's name
            """Discard the access log: scrapes are frequent."""

    class Server(ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        allow_reuse_address = True
        allow_reuse_port = True
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Ignore scrapers that disconnect."""

    return Server((host, port), Handler)
