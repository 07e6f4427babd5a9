"""Exported and quantized networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import BUNDLED_CHECKPOINT
from model.backends.onnx_export import export
from model.backends.quantization import quantize
from model.checkpoint.format import load_checkpoint
from model.classifier import Classifier
from tests.conftest import flower_image


@pytest.fixture(scope="session")
def quantized(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quantize the tiny network into a folder that does not exist yet."""
    classifier = Classifier.load(tiny_onnx)
    photos = [
        classifier.preprocess(flower_image((200 + 20 * seed, 180), seed))[None] for seed in range(8)
    ]
    path = tmp_path_factory.mktemp("int8") / "new" / "tiny-int8.onnx"
    quantize(tiny_onnx, photos, path)
    return path


@pytest.fixture(scope="session")
def bundled_float32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the bundled checkpoint."""
    path = tmp_path_factory.mktemp("float32") / "float32.onnx"
    export(*load_checkpoint(BUNDLED_CHECKPOINT), path)
    return path
