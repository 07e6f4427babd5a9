"""The PyTorch backend: padded batches, compilation, half precision on a GPU."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model.backends.base import Pixels
from model.backends.torch_backend import CompilerError, TorchBackend, check_compiler
from model.checkpoint.format import load_checkpoint
from model.imaging.transforms import EvaluationTransform

CPU = torch.device("cpu")


@pytest.fixture
def module(tiny_checkpoint: Path) -> nn.Module:
    return load_checkpoint(tiny_checkpoint)[0]


@pytest.fixture
def transform(tiny_checkpoint: Path) -> EvaluationTransform:
    return load_checkpoint(tiny_checkpoint)[1].transform


@pytest.fixture
def batch(transform: EvaluationTransform) -> Pixels:
    shape = (7, transform.crop, transform.crop, 3)
    return np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_padding_a_batch_does_not_change_the_outputs(
    module: nn.Module, transform: EvaluationTransform, batch: Pixels, count: int
) -> None:
    sizes = []
    module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    stem = next(child for child in module.modules() if isinstance(child, nn.Conv2d))
    stem.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    plain = TorchBackend(module, CPU, transform).run(batch[:count])
    sizes.clear()
    filled = TorchBackend(module, CPU, transform, fills_batches=True).run(batch[:count])
    assert set(sizes[-1:]) == {1 << (count - 1).bit_length()}
    assert len(filled.logits) == count
    np.testing.assert_allclose(filled.logits, plain.logits, rtol=1e-4, atol=1e-5)
    assert plain.activations is not None
    assert filled.activations is not None
    assert filled.activations.shape == plain.activations.shape
    np.testing.assert_allclose(filled.activations, plain.activations, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("fills_batches", [False, True])
def test_a_list_of_photos_has_the_outputs_of_an_array(
    module: nn.Module, transform: EvaluationTransform, batch: Pixels, fills_batches: bool
) -> None:
    network = TorchBackend(module, CPU, transform, fills_batches=fills_batches)
    for count in (1, 3):
        expected = network.run(batch[:count])
        got = network.run([photo.copy() for photo in batch[:count]])
        np.testing.assert_array_equal(got.logits, expected.logits)
        assert got.activations is not None
        np.testing.assert_array_equal(got.activations, expected.activations)


def test_padded_batch_sizes_are_powers_of_two(
    module: nn.Module, transform: EvaluationTransform
) -> None:
    network = TorchBackend(module, CPU, transform, fills_batches=True)
    assert network.batch_sizes(1) == [1]
    assert network.batch_sizes(16) == [1, 2, 4, 8, 16]
    assert network.batch_sizes(17) == [1, 2, 4, 8, 16, 32]
    assert TorchBackend(module, CPU, transform).batch_sizes(16) == [1]
    # A size that is not compiled at the start would be compiled by a request.
    assert TorchBackend(module, CPU, transform, compiled=True).batch_sizes(4) == [1, 2, 4]


def test_a_cpu_takes_small_batches(module: nn.Module, transform: EvaluationTransform) -> None:
    assert TorchBackend(module, CPU, transform).max_batch_size == 8


@pytest.mark.parametrize(
    ("device", "variable", "command"), [("cpu", "CXX", "g++"), ("cuda", "CC", "gcc")]
)
def test_compiling_needs_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, variable: str, command: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(CompilerError) as caught:
        check_compiler(torch.device(device))
    assert command in str(caught.value)
    assert "PETALSCOPE_TORCH_COMPILE" in str(caught.value)
    (tmp_path / "mine").touch(0o755)
    monkeypatch.setenv(variable, "mine")
    check_compiler(torch.device(device))


@pytest.mark.slow
def test_a_compiled_network_has_the_same_logits(
    module: nn.Module,
    transform: EvaluationTransform,
    batch: Pixels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The backend "eager" skips the last step, which needs a C++ compiler.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain = TorchBackend(module, CPU, transform).run(batch[:2])
    compiled = TorchBackend(module, CPU, transform, compiled=True).run(batch[:2])
    np.testing.assert_allclose(compiled.logits, plain.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
def test_half_precision_on_a_gpu_has_similar_logits(
    module: nn.Module, transform: EvaluationTransform, batch: Pixels
) -> None:
    on_cpu = TorchBackend(module, CPU, transform).run(batch).logits
    on_gpu = TorchBackend(module, torch.device("cuda"), transform).run(batch).logits
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=0.02, atol=0.02)
