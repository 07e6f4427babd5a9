"""The web service: one Flask app around one classifier; see docs/architecture.md."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
from flask import Flask

from app.api.feedback import feedback_api
from app.api.health import health
from app.api.routes import api
from app.catalog.pictures import load_pictures
from app.context import AppContext, install_context
from app.http.api_keys import init_api_keys
from app.http.api_version import register_versioned
from app.http.caching import init_caching
from app.http.compression import init_compression
from app.http.error_handlers import init_error_handlers
from app.http.proxy import init_proxy
from app.http.rate_limits import init_rate_limits
from app.http.request_body import UploadRequest
from app.http.route_options import route_options
from app.http.security_headers import init_security
from app.http.trusted_hosts import init_trusted_hosts
from app.http.uploads import MAX_TEXT_FIELD_BYTES
from app.inference.batcher import Batcher
from app.observability.metrics import Metrics
from app.observability.request_log import init_request_log
from app.settings import Settings
from app.web.feedback import feedback_pages
from app.web.flowers import flowers
from app.web.on_device import init_on_device
from app.web.pages import pages
from app.web.pictures import pictures as pictures_blueprint
from app.web.pwa import pwa
from app.web.rendering import init_rendering, render_error_page
from app.web.styles import styles
from model import bundled_checkpoint
from model.errors import PetalscopeError

if TYPE_CHECKING:
    from app.feedback.store import FeedbackStore
    from model.backends.base import Outputs
    from model.classifier import Classifier

_PAGES: Final = (pages, pwa, styles, pictures_blueprint)
_API: Final = (api, flowers, health)


class WarmUpError(PetalscopeError):
    """The model was loaded but does not run."""


def _end_process() -> None:
    """End this worker by SIGTERM: requests in flight finish, then gunicorn starts another."""
    os.kill(os.getpid(), signal.SIGTERM)


def create_app(
    settings: Settings,
    classifier: Classifier | None = None,
    *,
    end_process: Callable[[], None] = _end_process,
) -> Flask:
    """Create the app: load the checkpoint, warm up the model, start the batcher.

    Args:
        settings: The settings.
        classifier: The classifier to serve; by default `settings.checkpoint` is loaded.
        end_process: Called once if the model fails or hangs, so that only a new process can
            recover.

    Raises:
        CheckpointError, DeviceError, WarmUpError: The model cannot be served.
        ApiKeysError: The key file cannot be used.
        RateLimitsError: The storage of the rate limits cannot be used.
        MetricsPortError: The metrics port cannot be opened.
        FeedbackSetupError: The folder or the database of the feedback cannot be used.
        PictureFolderError: The folder of pictures cannot be used.
    """
    # Imported late: gunicorn's master process imports this package but never loads the model.
    from model.classifier import Classifier

    checkpoint = settings.checkpoint or bundled_checkpoint(settings.device)
    if classifier is None:
        classifier = Classifier.load(
            checkpoint,
            settings.device,
            settings.model_threads,
            nice=settings.model_nice,
            compiled=settings.torch_compile,
        )
    network = classifier.network
    max_batch_size = min(settings.max_batch_size, network.max_batch_size or settings.max_batch_size)
    explains = _warm(classifier, max_batch_size).activations is not None

    app = Flask(__name__, static_folder="web/static", template_folder="web/templates")
    app.request_class = UploadRequest
    app.json.sort_keys = False  # type: ignore[attr-defined]
    # One byte more than the limit: see `uploads.read_photos`.
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes + 1
    app.config["MAX_FORM_PARTS"] = settings.max_form_parts
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_TEXT_FIELD_BYTES
    metrics = Metrics()
    pictures = load_pictures(settings.pictures)
    batcher = Batcher(
        classifier.outputs,
        max_batch_size=max_batch_size,
        max_in_flight=settings.max_in_flight,
        max_batch_seconds=settings.batch_timeout_seconds,
        out_of_memory=network.out_of_memory,
        on_batch=metrics.batch_done,
        on_failure=end_process,
    )
    store = _feedback_store(settings)
    service = AppContext(
        settings, checkpoint, classifier, batcher, explains, metrics, pictures, store
    )
    install_context(app, service)
    served = {**service.model, "backend": network.name, "device": network.device}
    metrics.describe(served, settings.max_in_flight, lambda: batcher.in_flight)
    init_request_log(app, settings.log_level)
    init_rendering(app)
    init_error_handlers(app, render_error_page)
    init_security(app)
    init_caching(app)
    # With merged slashes, /flowers//18 redirects to the host that the Host header names.
    app.url_map.merge_slashes = False
    # /predict/ is /predict, because a redirect would make clients send the photo twice.
    app.url_map.strict_slashes = False
    init_compression(app)
    for blueprint in _PAGES:
        app.register_blueprint(blueprint)
    for blueprint in _API:
        register_versioned(app, blueprint)
    init_on_device(app)
    if store is not None:
        app.register_blueprint(feedback_pages)
        register_versioned(app, feedback_api)
    route_options(is_public=True)(app.view_functions["static"])
    if settings.proxy_count:
        init_proxy(app, settings.proxy_count)
    init_trusted_hosts(app, settings.trusted_hosts)
    if settings.api_keys_file is not None:
        init_api_keys(app, settings.api_keys_file)
    if settings.rate_limits:
        init_rate_limits(app, settings)
    if settings.metrics_port:
        metrics.serve(settings.metrics_host, settings.metrics_port, lambda: batcher.accepting)
    return app


def _feedback_store(settings: Settings) -> FeedbackStore | None:
    """Open the store of the feedback; return None if feedback is off.

    Raises:
        FeedbackSetupError: The folder or the database cannot be used.
    """
    if settings.feedback_dir is None:
        return None
    # Imported late: a service without feedback does not load SQLAlchemy.
    from app.feedback.store import FeedbackStore

    quota_bytes = settings.feedback_quota_mib * 1024 * 1024
    store = FeedbackStore(settings.feedback_dir, settings.feedback_database_url, quota_bytes)
    store.open()
    return store


def _warm(classifier: Classifier, max_batch_size: int) -> Outputs:
    """Run the model once per batch size, because the first run of a size is slow.

    Raises:
        WarmUpError: The model does not run, or its logits are not finite.
    """
    side, network = classifier.metadata.transform.crop, classifier.network
    first: Outputs | None = None
    for size in network.batch_sizes(max_batch_size):
        try:
            output, *_ = classifier.outputs(np.zeros((size, side, side, 3), dtype=np.uint8))
        except Exception as error:
            if first is not None and isinstance(error, network.out_of_memory):
                break  # the batcher splits batches that do not fit
            raise WarmUpError(
                f"The model does not run on {network.device} with {size} inputs of {side}×{side} "
                f"pixels: {type(error).__name__}."
            ) from error
        if not np.isfinite(output.logits).all():
            raise WarmUpError("The model's logits are not finite; use another checkpoint.")
        first = first or output
    assert first is not None  # noqa: S101 - every network has a size
    return first
