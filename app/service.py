"""What every route needs, made once by `create_app`: settings, the classifier, its batcher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from flask import Flask, current_app

from app.batching import Batcher
from app.metrics import Metrics
from app.settings import Settings

if TYPE_CHECKING:
    from model.classifier import Classifier
    from model.network import Outputs

_EXTENSION: Final = "petalscope"


@dataclass(frozen=True)
class Service:
    """The parts of one running service."""

    settings: Settings
    checkpoint: Path
    classifier: Classifier
    batcher: Batcher[Outputs]
    explains: bool  # whether the model can tell where it looked
    metrics: Metrics

    @property
    def model(self) -> dict[str, str]:
        """Which model answers: its architecture, the checkpoint's file name, its version."""
        return {
            "architecture": self.classifier.metadata.architecture.backbone,
            "checkpoint": self.checkpoint.name,
            "version": self.classifier.version,
        }


def install_service(app: Flask, service: Service) -> None:
    """Make `service` what `service_of(app)` and `current_service` return."""
    app.extensions[_EXTENSION] = service


def service_of(app: Flask) -> Service:
    """Return the service behind an app that `create_app` made."""
    return cast(Service, app.extensions[_EXTENSION])


def current_service() -> Service:
    """Return the service behind the current request."""
    return service_of(current_app)
