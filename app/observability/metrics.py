"""What the service tells Prometheus, and the port where it does.

    routes, batcher -> Metrics -> GET /metrics at PETALSCOPE_METRICS_PORT, /healthz and /readyz too

Names follow Prometheus' conventions: base units, `_total` for what only rises. The port is one of
its own, so that the numbers are not the public's, and answer while every thread is taken. So do the
health checks there, which elsewhere wait in line with the photos that are refused.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.metrics_core import Metric
from werkzeug.serving import WSGIRequestHandler, make_server

from model.errors import PetalscopeError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_SECONDS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
# Other methods are a stranger's own words, and each would be a time series for good.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})


class MetricsPortError(PetalscopeError):
    """The port for the metrics cannot be had."""


class Metrics:
    """The numbers of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "petalscope_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "petalscope_http_request_duration_seconds",
            "From the request's headers to its answer, the upload's time included.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._steps = Histogram(
            "petalscope_photo_duration_seconds",
            "What a photo spends its time on: decode, wait (for the model), inference.",
            ("step",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "petalscope_batch_size_photos",
            "Photos in each batch that the model ran on.",
            buckets=_BATCH_SIZES,
            registry=self._registry,
        )
        self._refused = Counter(
            "petalscope_photos_refused",
            "Photos without an answer for the service's own reasons: full, expired, …",
            ("reason",),
            registry=self._registry,
        )
        self._verdicts = Counter(
            "petalscope_photos_answered",
            "Photos answered, by the verdict: known, unsure, unknown or unchecked.",
            ("verdict",),
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)

    def describe(self, model: Mapping[str, str], places: int, in_flight: Callable[[], int]) -> None:
        """Tell which model is served, how many places there are, and how many are taken."""
        Info("petalscope_model", "What is served.", registry=self._registry).info(dict(model))
        Gauge(
            "petalscope_queue_places",
            "Photos that may be under way at once.",
            registry=self._registry,
        ).set(places)
        Gauge(
            "petalscope_queue_places_taken", "Photos under way.", registry=self._registry
        ).set_function(in_flight)

    def collect(self) -> Iterable[Metric]:
        """Give every metric with its present values."""
        return self._registry.collect()

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is the rule that matched, not what the client asked for."""
        known_method = method if method in _METHODS else "other"
        self._requests.labels(known_method, route, status).inc()
        self._durations.labels(route).observe(seconds)

    def step_done(self, step: str, seconds: float) -> None:
        """Note how long a photo took for a step."""
        self._steps.labels(step).observe(seconds)

    def batch_done(self, photos: int) -> None:
        """Note how many photos the model ran on at once."""
        self._batches.observe(photos)

    def photo_refused(self, reason: str) -> None:
        """Count a photo that the service had no answer for."""
        self._refused.labels(reason).inc()

    def photo_answered(self, verdict: str) -> None:
        """Count an answer by its verdict."""
        self._verdicts.labels(verdict).inc()

    def serve(self, host: str, port: int, ready: Callable[[], bool]) -> None:
        """Answer `GET /metrics` and health checks at a port, on threads that end with the process.

        The port may be shared: while gunicorn replaces its worker there are two for a moment.

        Args:
            host: Address to listen at.
            port: The port.
            ready: Whether photos are taken.

        Raises:
            MetricsPortError: The port cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, reuse_port=True)
        except OSError as error:
            raise MetricsPortError(
                f"Port {port} for the metrics cannot be had: {error.strerror}."
            ) from error
        with listening:
            server = make_server(
                host,
                port,
                _routes(make_wsgi_app(self._registry), ready),
                threaded=True,
                request_handler=_SilentHandler,
                fd=listening.fileno(),
            )
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _routes(metrics: Callable[..., Any], ready: Callable[[], bool]) -> Callable[..., Any]:
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        def say(status: str, text: bytes) -> list[bytes]:
            start_response(status, [("Content-Type", "text/plain")])
            return [text]

        match environ["PATH_INFO"]:
            case "/metrics":
                return metrics(environ, start_response)
            case "/healthz":
                return say("200 OK", b"alive\n")
            case "/readyz" if ready():
                return say("200 OK", b"ready\n")
            case "/readyz":
                return say("503 Service Unavailable", b"not ready\n")
        return say("404 Not Found", b"Here are /metrics, /healthz and /readyz.\n")

    return answer


class _SilentHandler(WSGIRequestHandler):
    timeout = 10  # seconds a silent client may hold a thread

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - Werkzeug's name
        """Log nothing: a scrape every few seconds is no news."""
