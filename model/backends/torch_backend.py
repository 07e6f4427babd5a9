"""A backend that runs PyTorch on CUDA or on a CPU.

Class activation maps come from the same pass as the logits (Zhou et al. 2016, "Learning deep
features for discriminative localization"). On a GPU the network runs under autocast, and batches
are padded to powers of two, because CUDA libraries tune their kernels for each shape.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from itertools import repeat

import numpy as np
import torch
from torch import nn

from model.backends.base import Array, Batch, DeviceError, Outputs, Pixels
from model.backends.normalization import InputNormalization
from model.backends.reference import make_reference, reference_input
from model.checkpoint.metadata import Reference
from model.errors import PetalscopeError
from model.imaging.transforms import EvaluationTransform

# Larger batches take as long per photo, and exceed the allocator's limit in gunicorn.conf.py.
_MAX_CPU_BATCH = 8


class CompilerError(PetalscopeError):
    """A missing compiler, which `torch.compile` needs."""


class TorchBackend:
    """A timm network with any head of `Architecture`.

    Args:
        network: Return value of `backbones.build_network`.
        device: Device to run on.
        transform: The evaluation transform of the network.
        threads: Number of CPU threads of all networks in the process; 0 leaves it unchanged.
        compiled: Compile the network with `torch.compile`, once per batch size.
        fills_batches: Pad batches to powers of two, so that few sizes are compiled or tuned; None
            pads on a GPU and if `compiled`.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        transform: EvaluationTransform,
        threads: int = 0,
        *,
        compiled: bool = False,
        fills_batches: bool | None = None,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._fills_batches = self._on_gpu or compiled if fills_batches is None else fills_batches
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)
        self._normalize = InputNormalization(transform).to(device)
        self._head = map_head(self._network, example_input(transform.crop).to(device))
        self._forward = torch.compile(self._outputs, dynamic=False) if compiled else self._outputs

    @property
    def name(self) -> str:
        """Name of the library."""
        return "pytorch"

    @property
    def device(self) -> str:
        """Name of the device, such as "cpu" or "cuda:0"."""
        return str(self._device)

    @property
    def threads(self) -> int:
        """Number of CPU threads of the library."""
        return torch.get_num_threads()

    @property
    def max_batch_size(self) -> int | None:
        """None on a GPU: larger batches are faster until its memory is full. 8 on a CPU."""
        return None if self._on_gpu else _MAX_CPU_BATCH

    @property
    def out_of_memory(self) -> tuple[type[BaseException], ...]:
        """Exceptions that `run` raises if a batch does not fit in memory."""
        return (torch.OutOfMemoryError, MemoryError)

    def batch_sizes(self, max_batch_size: int) -> list[int]:
        """Return the powers of two up to the padded `max_batch_size`; [1] without padding."""
        if not self._fills_batches:
            return [1]
        return [1 << power for power in range((max_batch_size - 1).bit_length() + 1)]

    def run(self, batch: Batch) -> Outputs:
        """Run the network on one or more images.

        Raises:
            One of `out_of_memory`: The batch does not fit in the device's memory.
        """
        count = len(batch)
        size = self.batch_sizes(count)[-1] if self._fills_batches else count
        inputs = torch.from_numpy(_stacked(batch, size))
        if self._on_gpu:
            inputs = inputs.pin_memory()
        # Both contexts are thread-local, so they are entered on the calling thread.
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.float16, enabled=self._on_gpu),
        ):
            logits, maps = self._forward(inputs.to(self._device, non_blocking=True))
        return Outputs(_array(logits[:count]), None if maps is None else _array(maps[:count]))

    def run_each(self, batch: Batch) -> Iterator[Outputs]:
        """Run the network on one or more images; yield the outputs of each.

        Raises:
            One of `out_of_memory`: The batch does not fit in the device's memory.
        """
        logits, maps = self.run(batch)
        for index, row in enumerate(logits):
            yield Outputs(row, None if maps is None else maps[index])

    def _outputs(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        inputs = self._normalize(pixels)
        if self._head is None:
            return self._network(inputs), None
        features = self._network.forward_features(inputs)  # type: ignore[operator]
        logits = self._network.forward_head(features)  # type: ignore[operator]
        return logits, torch.einsum("nchw,kc->nkhw", features, self._head.weight)


def _stacked(batch: Batch, size: int) -> Pixels:
    """Return a batch as one array, filled up with black images: uint8 (size, H, W, 3)."""
    if len(batch) == size:
        if isinstance(batch, np.ndarray):
            return batch
        if size == 1:
            # Not `[None]`, whose stride of 0 misleads PyTorch about the memory format.
            return batch[0].reshape(1, *batch[0].shape)
    return np.stack([*batch, *repeat(np.zeros_like(batch[0]), size - len(batch))])


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.float().cpu().numpy()
    return array


def example_input(side: int) -> torch.Tensor:
    """Return a network input for `map_head` and for tracing, float32 (1, 3, side, side)."""
    return torch.linspace(-1, 1, 3 * side * side).view(1, 3, side, side)


@torch.inference_mode()
def map_head(network: nn.Module, example: torch.Tensor) -> nn.Linear | None:
    """Return the head if it is one linear layer on average-pooled features, otherwise None.

    Args:
        network: Return value of `backbones.build_network`, in evaluation mode.
        example: Input on which the pooling is compared with an average, float32 (1, 3, H, W).
    """
    head = network.get_classifier()  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        return None
    try:
        features = network.forward_features(example)  # type: ignore[operator]
        pooled = network.forward_head(features, pre_logits=True)  # type: ignore[operator]
    except RuntimeError:
        return None  # wrong input size; the reference check reports it
    if features.dim() != 4 or features.shape[1] != head.in_features:
        return None
    means = features.mean(dim=(2, 3))
    same = pooled.shape == means.shape and torch.allclose(pooled, means, rtol=1e-3, atol=1e-4)
    return head if same else None


@torch.inference_mode()
def network_reference(network: nn.Module, transform: EvaluationTransform) -> Reference:
    """Return the reference of a network on the CPU, in evaluation mode.

    Raises:
        NotANumberError: A logit is not finite.
    """
    inputs = InputNormalization(transform)(torch.from_numpy(reference_input(transform)))
    return make_reference(_array(network(inputs))[0])


def check_compiler(device: torch.device) -> None:
    """Check that `torch.compile` finds a compiler for a device.

    Raises:
        CompilerError: It does not.
    """
    # Triton compiles C for a GPU, TorchInductor C++ for a CPU.
    variable, commands = ("CC", ("gcc", "clang")) if device.type == "cuda" else ("CXX", ("g++",))
    if not any(map(shutil.which, (os.environ.get(variable, ""), *commands))):
        raise CompilerError(
            f"torch.compile needs {' or '.join(commands)}, which the images do not have: install "
            "it, or set PETALSCOPE_TORCH_COMPILE to false."
        )


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        DeviceError: The name is none of these, or the device is not present.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device(name)
    match = re.fullmatch("cuda(?::([0-9]+))?", name)
    if match is None:
        raise DeviceError(f"The device is {name!r}; it must be auto, cpu, cuda or cuda:N.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(match[1] or 0) >= count:
        raise DeviceError(
            f"The device {name} is not present: PyTorch finds {count} CUDA devices; "
            "choose auto or cpu, or check the driver with nvidia-smi."
        )
    return torch.device(name)
