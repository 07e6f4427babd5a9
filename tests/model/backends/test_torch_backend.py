"""The PyTorch backend: padded batches, compilation, half precision on a GPU."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model.backends.base import Array
from model.backends.torch_backend import TorchBackend
from model.checkpoint.format import load_checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def module(tiny_checkpoint: Path) -> nn.Module:
    return load_checkpoint(tiny_checkpoint)[0]


@pytest.fixture
def batch(tiny_checkpoint: Path) -> Array:
    side = load_checkpoint(tiny_checkpoint)[1].transform.crop
    generator = np.random.default_rng(0)
    return generator.standard_normal((7, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_padding_a_batch_does_not_change_the_outputs(
    module: nn.Module, batch: Array, count: int
) -> None:
    sizes = []
    module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    stem = next(child for child in module.modules() if isinstance(child, nn.Conv2d))
    stem.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    side = batch.shape[-1]
    plain = TorchBackend(module, CPU, side).run(batch[:count])
    sizes.clear()
    filled = TorchBackend(module, CPU, side, fills_batches=True).run(batch[:count])
    assert set(sizes[-1:]) == {1 << (count - 1).bit_length()}
    assert len(filled.logits) == count
    np.testing.assert_allclose(filled.logits, plain.logits, rtol=1e-4, atol=1e-5)
    assert plain.activations is not None
    assert filled.activations is not None
    assert filled.activations.shape == plain.activations.shape
    np.testing.assert_allclose(filled.activations, plain.activations, rtol=1e-3, atol=1e-4)


def test_padded_batch_sizes_are_powers_of_two(module: nn.Module) -> None:
    network = TorchBackend(module, CPU, 32, fills_batches=True)
    assert network.batch_sizes(1) == [1]
    assert network.batch_sizes(16) == [1, 2, 4, 8, 16]
    assert network.batch_sizes(17) == [1, 2, 4, 8, 16, 32]
    assert TorchBackend(module, CPU, 32).batch_sizes(16) == [1]
    # A size that is not compiled at the start would be compiled by a request.
    assert TorchBackend(module, CPU, 32, compiled=True).batch_sizes(4) == [1, 2, 4]


@pytest.mark.slow
def test_a_compiled_network_has_the_same_logits(
    module: nn.Module, batch: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The backend "eager" skips the last step, which needs a C++ compiler.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    side = batch.shape[-1]
    plain = TorchBackend(module, CPU, side).run(batch[:2])
    compiled = TorchBackend(module, CPU, side, compiled=True).run(batch[:2])
    np.testing.assert_allclose(compiled.logits, plain.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
def test_half_precision_on_a_gpu_has_similar_logits(module: nn.Module, batch: Array) -> None:
    side = batch.shape[-1]
    on_cpu = TorchBackend(module, CPU, side).run(batch).logits
    on_gpu = TorchBackend(module, torch.device("cuda"), side).run(batch).logits
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=0.02, atol=0.02)
