"""Log line at the start of the service."""

from __future__ import annotations

import logging
from typing import Final

from app.context import AppContext
from model import __version__

_log: Final = logging.getLogger(__name__)


def log_start(service: AppContext, address: str) -> None:
    """Log what runs and where.

    Args:
        service: The context of the app.
        address: Address that the server listens on.
    """
    network, model = service.classifier.network, service.model
    fields = {
        "version": __version__,
        "model": model["architecture"],
        "checkpoint": model["checkpoint"],
        "checkpoint_version": model["version"],
        "backend": network.name,
        "device": network.device,
        "threads": network.threads,
        "address": address,
    }
    _log.info("started", extra={"fields": fields})
