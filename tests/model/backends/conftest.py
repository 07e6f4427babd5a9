"""An exported network shared by the tests of a module."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.backends.onnx_export import export
from model.checkpoint.format import load_checkpoint


@pytest.fixture(scope="module")
def plain(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    export(*load_checkpoint(tiny_checkpoint), path)
    return path
