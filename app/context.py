"""The objects that request handlers share, built once by `create_app`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from flask import Flask, current_app

if TYPE_CHECKING:
    from pathlib import Path

    from app.catalog.pictures import Pictures
    from app.feedback.store import FeedbackStore
    from app.inference.batcher import Batcher
    from app.observability.metrics import Metrics
    from app.settings import Settings
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
    explains: bool  # the model returns activation maps
    metrics: Metrics
    pictures: Pictures
    feedback: FeedbackStore | None  # None if feedback is off

    def close(self) -> None:
        """Answer the photos that still wait, and close the connections."""
        self.batcher.close()
        if self.feedback is not None:
            self.feedback.close()

    @property
    def model(self) -> dict[str, str]:
        """Return the model's architecture, checkpoint file name and version."""
        return {
            "architecture": self.classifier.metadata.architecture.backbone,
            "checkpoint": self.checkpoint.name,
            "version": self.classifier.version,
        }


def install_context(app: Flask, service: AppContext) -> None:
    """Attach `service` to `app`."""
    app.extensions[_EXTENSION] = service


def context_of(app: Flask) -> AppContext:
    """Return the context that `create_app` attached to `app`."""
    return cast(AppContext, app.extensions[_EXTENSION])


def current_context() -> AppContext:
    """Return the context of the app that handles the current request."""
    return context_of(current_app)
