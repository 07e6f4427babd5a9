"""App with the tiny checkpoint, created for each test, and helpers that build requests."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import FileSystemBytecodeCache

from app import create_app
from app.context import context_of
from app.settings import Settings
from model.backends.base import Outputs, Pixels
from model.classifier import Classifier
from model.ood import OodRule
from tests.conftest import flower_image

Run = Callable[[list[Pixels]], Iterable[Outputs]]
MakeApp = Callable[..., Flask]


def encoded(image_format: str = "JPEG", size: tuple[int, int] = (400, 300), seed: int = 0) -> bytes:
    """Return a drawn photo as a file's bytes."""
    file = io.BytesIO()
    flower_image(size, seed).save(file, image_format)
    return file.getvalue()


def multipart(*parts: tuple[str, str | None, bytes]) -> dict[str, Any]:
    """Build a form of (field, file name or None for text, data), as arguments of a test client.

    The test client's own forms leave temporary files open if they are large.
    """
    boundary = "0123456789"
    body = b""
    for field, name, data in parts:
        file_name = "" if name is None else f'; filename="{name}"'
        disposition = f'Content-Disposition: form-data; name="{field}"{file_name}'
        body += f"--{boundary}\r\n{disposition}\r\n\r\n".encode() + data + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return {"data": body, "content_type": f"multipart/form-data; boundary={boundary}"}


def form(data: bytes, field: str = "image", name: str = "photo.jpg") -> dict[str, Any]:
    """Build a form with one file, as arguments of a test client."""
    return multipart((field, name, data))


class BlockingRun:
    """A model that blocks until `release` is set. Its first call, the warm-up, does not block.

    Attributes:
        started: Set by the first blocked call.
        release: Lets all calls continue.
    """

    def __init__(self, run: Run) -> None:
        self.started = Event()
        self.release = Event()
        self._run = run
        self._warm = False

    def __call__(self, batch: list[Pixels]) -> Iterable[Outputs]:
        if self._warm:
            self.started.set()
            assert self.release.wait(60)
        self._warm = True
        return self._run(batch)


@pytest.fixture
def photo() -> bytes:
    return encoded()


@pytest.fixture(scope="session")
def classifier(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint, "cpu")


@pytest.fixture(scope="session")
def compiled_templates(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """Keep the compiled templates, because each app would compile them again, in 0.1 s."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def make_app(
    tiny_checkpoint: Path, classifier: Classifier, compiled_templates: FileSystemBytecodeCache
) -> Iterator[MakeApp]:
    """Return a function that creates an app; `run` replaces the model, `ood_rule` its rule."""
    apps: list[Flask] = []

    def make(
        *,
        run: Run | None = None,
        ood_rule: OodRule | None = None,
        end_process: Any = None,
        **settings: Any,
    ) -> Flask:
        served, metadata = classifier, classifier.metadata
        if ood_rule is not None:
            metadata = replace(metadata, ood_rule=ood_rule)
        if run is not None or ood_rule is not None:
            served = Classifier(classifier.network, metadata, classifier.version)
        if run is not None:
            served.outputs = run  # type: ignore[assignment, method-assign]
        chosen = {"end_process": end_process} if end_process is not None else {}
        settings = {"checkpoint": tiny_checkpoint, **settings}
        app = create_app(Settings(**settings), served, **chosen)
        app.testing = True
        app.jinja_env.bytecode_cache = compiled_templates
        apps.append(app)
        return app

    yield make
    for app in apps:
        context_of(app).close()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
