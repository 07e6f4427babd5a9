"""Log lines at the start of the service."""

from __future__ import annotations

import logging
from typing import Final

from app.context import AppContext
from app.photo_limits import MIB, reserved_mib
from model import __version__, missing_gpu
from model.control_groups import usable_memory

_log: Final = logging.getLogger(__name__)


def log_start(service: AppContext, address: str) -> None:
    """Log what runs and where, and warn of what an operator may not expect.

    Args:
        service: The context of the app.
        address: Address that the server listens on.
    """
    network, model, settings = service.classifier.network, service.model, service.settings
    memory_mib = usable_memory() // MIB
    fields = {
        "version": __version__,
        "model": model["architecture"],
        "checkpoint": model["checkpoint"],
        "checkpoint_version": model["version"],
        "backend": network.name,
        "device": network.device,
        "threads": network.threads,
        "memory_mib": memory_mib,
        "max_megapixels": settings.max_megapixels,
        "max_body_mib": settings.max_body_mib,
        "max_in_flight": settings.max_in_flight,
        "address": address,
    }
    _log.info("started", extra={"fields": fields})
    needed_mib = settings.photo_limits.mib + reserved_mib(settings.may_run_pytorch)
    if needed_mib > memory_mib:
        _log.warning(
            "the worst photos within the limits need %d MiB; lower PETALSCOPE_MAX_MEGAPIXELS, "
            "PETALSCOPE_MAX_BODY_MIB or PETALSCOPE_MAX_IN_FLIGHT, or add memory",
            needed_mib,
        )
    if settings.device == "auto" and network.device == "cpu" and (reason := missing_gpu()):
        _log.warning(
            "no usable GPU, so the CPU serves, more slowly; to require a GPU, set "
            "PETALSCOPE_DEVICE=cuda; to expect none, set it to cpu: %s",
            reason,
        )
