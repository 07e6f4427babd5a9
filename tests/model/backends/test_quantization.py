"""Quantization to int8: accuracy, file size and ONNX runtimes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from model import BUNDLED_CHECKPOINT, BUNDLED_INT8
from model.backends.base import Array, Pixels
from model.backends.export_check import DEFAULT_MAX_LOST
from model.backends.onnx_export import INPUT
from model.backends.quantization import QuantizationError, quantize
from model.checkpoint.format import read_metadata
from model.classifier import Classifier
from model.evaluation.datasets import labelled_photos
from model.evaluation.evaluate import evaluate
from tests.conftest import flower_image

pytestmark = pytest.mark.slow

IMAGES = [flower_image((200 + 20 * seed, 180), seed) for seed in range(8)]


def batch_of(classifier: Classifier) -> Pixels:
    return np.stack([classifier.preprocess(image) for image in IMAGES])


def test_logits_and_maps_are_close_to_float32(tiny_onnx: Path, quantized: Path) -> None:
    reference, small = Classifier.load(tiny_onnx), Classifier.load(quantized)
    batch = batch_of(reference)
    expected, got = reference.network.run(batch), small.network.run(batch)
    spread = expected.logits.std()
    assert 0 < np.abs(got.logits - expected.logits).max() < spread
    assert np.abs(got.logits - expected.logits).mean() < spread / 5
    assert expected.activations is not None
    assert got.activations is not None
    assert got.activations.shape == expected.activations.shape
    difference = np.abs(got.activations - expected.activations).mean()
    assert difference < expected.activations.std() / 5


def test_the_file_is_much_smaller_and_keeps_its_metadata_and_shapes(
    tiny_onnx: Path, quantized: Path
) -> None:
    assert quantized.stat().st_size < tiny_onnx.stat().st_size / 2
    before, after = onnx.load(str(tiny_onnx)), onnx.load(str(quantized))
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    assert Classifier.load(quantized).metadata == Classifier.load(tiny_onnx).metadata


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_file_accepts_any_batch_size(quantized: Path, runtime: str) -> None:
    classifier = Classifier.load(quantized)
    batch = batch_of(classifier)
    for size in (1, 3):
        logits = run_with(runtime, quantized, batch[:size])
        expected = classifier.logits(batch[:size])
        assert logits.shape == expected.shape
        # Runtimes round differently.
        assert np.abs(logits - expected).max() < expected.std() / 2


def run_with(runtime: str, path: Path, batch: Pixels) -> Array:
    if runtime == "openvino":
        import openvino  # its import sends telemetry unless openvino_backend is imported first

        compiled = openvino.Core().compile_model(str(path), "CPU")
        return np.asarray(compiled({INPUT: batch})["logits"])
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {INPUT: batch})[0])


@pytest.mark.parametrize("package", ["nncf", "onnxruntime"])
def test_a_missing_package_is_named(
    tiny_onnx: Path, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("nncf", "onnxruntime")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    photos = list(batch_of(Classifier.load(tiny_onnx))[:1, None])
    with pytest.raises(QuantizationError, match=package):
        quantize(tiny_onnx, photos, tmp_path / "none.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_bundled_file_belongs_to_the_bundled_checkpoint() -> None:
    small = Classifier.load(BUNDLED_INT8).metadata
    metadata = read_metadata(BUNDLED_CHECKPOINT)
    assert small == replace(
        metadata,
        temperature=small.temperature,
        ood_rule=small.ood_rule,
        metrics=small.metrics,
    )
    assert metadata.ood_rule is not None
    assert small.ood_rule is not None
    assert small.ood_rule.score == metadata.ood_rule.score


@pytest.mark.data
def test_the_bundled_file_is_as_accurate_on_real_photos(data_dir: Path) -> None:
    classifier = Classifier.load(BUNDLED_INT8, "cpu")
    measured = evaluate(classifier, labelled_photos(classifier, data_dir / "valid"))
    # Measured when the checkpoint was made. Running it again in PyTorch takes a minute.
    expected = read_metadata(BUNDLED_CHECKPOINT).metrics["valid"]
    assert measured.n == expected["n"]
    assert measured.top1 >= expected["top1"] - DEFAULT_MAX_LOST
