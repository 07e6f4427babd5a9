"""The reference check at load, on every backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import safetensors.torch
import torch
from onnx import numpy_helper

from model import BUNDLED_CHECKPOINT, BUNDLED_INT8
from model.backends.base import Array, Batch, Outputs
from model.backends.reference import FLOAT_TOLERANCE, check_reference, reference_input
from model.checkpoint.format import load_checkpoint
from model.checkpoint.metadata import (
    CheckpointError,
    InferenceFailedError,
    MismatchedLogitsError,
    NotANumberError,
)
from model.classifier import Classifier

Change = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def nan(weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.full_like(weights, np.nan)


def reversed_classes(weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return weights[::-1].copy()


def change_safetensors(source: Path, path: Path, change: Change) -> None:
    with safetensors.safe_open(source, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(source)
    tensors["classifier.weight"] = torch.from_numpy(change(tensors["classifier.weight"].numpy()))
    safetensors.torch.save_file(tensors, path, metadata=metadata)


def change_onnx(source: Path, path: Path, change: Change) -> None:
    model = onnx.load(str(source))
    (head,) = (
        item
        for item in model.graph.initializer
        if "classifier.weight" in item.name and len(item.dims) == 2
    )
    changed = change(numpy_helper.to_array(head))
    head.CopyFrom(numpy_helper.from_array(changed, head.name))
    onnx.save(model, str(path))


def without_reference(path: Path) -> None:
    model = onnx.load(str(path))
    (entry,) = model.metadata_props
    values = json.loads(entry.value)
    values.pop("reference", None)
    entry.value = json.dumps(values)
    onnx.save(model, str(path))


@pytest.mark.slow
def test_written_files_have_a_reference(
    tiny_checkpoint: Path, tiny_onnx: Path, quantized: Path
) -> None:
    for path in (tiny_checkpoint, tiny_onnx, quantized):
        reference = Classifier.load(path, "cpu").metadata.reference
        assert reference is not None
        assert len(reference.logits) == 6


@pytest.mark.parametrize(
    ("change", "error"), [(nan, NotANumberError), (reversed_classes, MismatchedLogitsError)]
)
def test_other_weights_in_a_safetensors_file_are_refused(
    tiny_checkpoint: Path, tmp_path: Path, change: Change, error: type[CheckpointError]
) -> None:
    path = tmp_path / "other.safetensors"
    change_safetensors(tiny_checkpoint, path, change)
    with pytest.raises(error):
        Classifier.load(path, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "error"), [(nan, NotANumberError), (reversed_classes, MismatchedLogitsError)]
)
def test_other_weights_in_an_onnx_file_are_refused(
    tiny_onnx: Path, tmp_path: Path, change: Change, error: type[CheckpointError]
) -> None:
    path = tmp_path / "other.onnx"
    change_onnx(tiny_onnx, path, change)
    with pytest.raises(error) as caught:
        Classifier.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.slow
def test_other_weights_in_an_int8_file_are_refused(quantized: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    change_onnx(quantized, path, reversed_classes)
    with pytest.raises(MismatchedLogitsError):
        Classifier.load(path)


def test_a_file_without_a_reference_loads_if_its_logits_are_finite(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    path = tmp_path / "old.onnx"
    path.write_bytes(tiny_onnx.read_bytes())
    without_reference(path)
    assert Classifier.load(path).metadata.reference is None
    change_onnx(path, path, nan)
    with pytest.raises(NotANumberError):
        Classifier.load(path)


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("layer", [0, 20])
def test_weights_that_are_not_finite_are_refused_without_a_reference(
    bundled_float32: Path, tmp_path: Path, layer: int, value: float
) -> None:
    # ReLU6 clips NaN and infinity, so the logits are finite and the same for every photo.
    path = tmp_path / "damaged.onnx"
    model = onnx.load(str(bundled_float32))
    kernel = [item for item in model.graph.initializer if len(item.dims) == 4][layer]
    damaged = np.full(tuple(kernel.dims), value, np.float32)
    kernel.CopyFrom(numpy_helper.from_array(damaged, kernel.name))
    onnx.save(model, str(path))
    without_reference(path)
    with pytest.raises(NotANumberError):
        Classifier.load(path)


@pytest.mark.slow
@pytest.mark.parametrize("path", [BUNDLED_CHECKPOINT, BUNDLED_INT8], ids=lambda path: path.suffix)
def test_the_bundled_files_load(path: Path) -> None:
    Classifier.load(path, "cpu")


class FakeNetwork:
    """A backend that returns `logits`, or raises if they are None."""

    name = "fake"
    device = "cpu"
    threads = 1
    max_batch_size = None
    out_of_memory = (MemoryError,)

    def __init__(self, logits: Array | None) -> None:
        self.logits = logits

    def batch_sizes(self, max_batch_size: int) -> list[int]:
        return [1]

    def run(self, batch: Batch) -> Outputs:
        if self.logits is None:
            raise RuntimeError("no kernel")
        return Outputs(self.logits[None], None)

    def run_each(self, batch: Batch) -> Iterator[Outputs]:
        raise NotImplementedError


def test_the_difference_is_measured_against_the_range_of_the_logits(tiny_checkpoint: Path) -> None:
    metadata = Classifier.load(tiny_checkpoint, "cpu").metadata
    reference = metadata.reference
    assert reference is not None
    logits = np.array(reference.logits, np.float32)
    for share, refused in ((0.9, False), (1.1, True)):
        moved = logits.copy()
        moved[2] += share * FLOAT_TOLERANCE * np.ptp(logits)
        network = FakeNetwork(moved)
        if refused:
            with pytest.raises(MismatchedLogitsError):
                check_reference(network, metadata, tiny_checkpoint)
        else:
            check_reference(network, metadata, tiny_checkpoint)


def test_a_failing_network_is_one_line(tiny_checkpoint: Path) -> None:
    metadata = Classifier.load(tiny_checkpoint, "cpu").metadata
    with pytest.raises(InferenceFailedError) as caught:
        check_reference(FakeNetwork(None), metadata, tiny_checkpoint)
    assert "no kernel" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_reference_image_has_the_shape_of_the_transform(tiny_checkpoint: Path) -> None:
    transform = load_checkpoint(tiny_checkpoint)[1].transform
    assert reference_input(transform).shape == (1, transform.crop, transform.crop, 3)
    smaller = replace(transform, crop=32, resize=40)
    assert reference_input(smaller).dtype == np.uint8
    assert reference_input(smaller).shape == (1, 32, 32, 3)
