"""What every route needs, made once by `create_app`: settings, the classifier, its batcher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from flask import Flask, current_app

from app.inference.batcher import Batcher
from app.observability.metrics import Metrics
from app.settings import Settings

if TYPE_CHECKING:
    from model.backends.base import Outputs
    from model.classifier import Classifier

_EXTENSION: Final = "petalscope"


@dataclass(frozen=True)
class AppContext:
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


def install_context(app: Flask, service: AppContext) -> None:
    """Make `service` what `context_of(app)` and `current_context` return."""
    app.extensions[_EXTENSION] = service


def context_of(app: Flask) -> AppContext:
    """Return the service behind an app that `create_app` made."""
    return cast(AppContext, app.extensions[_EXTENSION])


def current_context() -> AppContext:
    """Return the service behind the current request."""
    return context_of(current_app)
