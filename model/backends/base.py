"""The backend protocol: a network that runs on batches, independent of the library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from model.errors import PetalscopeError

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Batch = Pixels | Sequence[Pixels]
"""RGB images of one size: uint8 (N, H, W, 3), or N arrays uint8 (H, W, 3)."""


class DeviceError(PetalscopeError):
    """A device that is unknown or not present."""


class Outputs(NamedTuple):
    """Outputs of a network for a batch of N photos; without the N axis for one photo.

    Attributes:
        logits: float32 (N, classes), not yet divided by the temperature.
        activations: Class activation maps, float32 (N, classes, h, w). Their mean over h and w plus
            the head's bias equals the logits. None unless the head is one linear layer on
            average-pooled features.
    """

    logits: Array
    activations: Array | None


class Backend(Protocol):
    """A loaded network; all methods are thread-safe."""

    @property
    def name(self) -> str:
        """Name of the library: "openvino" or "pytorch"."""

    @property
    def device(self) -> str:
        """Name of the device, such as "cpu" or "cuda:0"."""

    @property
    def threads(self) -> int:
        """Number of CPU threads of the library."""

    @property
    def max_batch_size(self) -> int | None:
        """Largest useful batch size; None if larger is always faster."""

    @property
    def out_of_memory(self) -> tuple[type[BaseException], ...]:
        """Exceptions that `run` raises if a batch is too large."""

    def batch_sizes(self, max_batch_size: int) -> Sequence[int]:
        """Return the batch sizes to warm up, ascending.

        Args:
            max_batch_size: Largest batch that will be run, 1 or more.
        """

    def run(self, batch: Batch) -> Outputs:
        """Run the network on one or more images."""

    def run_each(self, batch: Batch) -> Iterator[Outputs]:
        """Run the network on one or more images; yield the outputs of each once they are known.

        A thread must exhaust or close the iterator before its next run.
        """
