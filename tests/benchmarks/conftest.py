"""The app fixtures, for benchmarks that send photos to the service."""

from __future__ import annotations

from tests.app.conftest import app, classifier, client, compiled_templates, make_app

__all__ = ["app", "classifier", "client", "compiled_templates", "make_app"]
