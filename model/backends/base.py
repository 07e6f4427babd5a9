"""The backend protocol: a network that runs on batches, independent of the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from model.errors import PetalscopeError

Array = npt.NDArray[np.float32]


class DeviceError(PetalscopeError):
    """A device that this machine lacks."""


class Outputs(NamedTuple):
    """Outputs of a network for a batch of N, or without N for one photo.

    Attributes:
        logits: float32 (N, classes), not yet divided by the temperature.
        activations: Class activation maps, float32 (N, classes, h, w), whose mean over h and w
            plus the head's bias is the logits; None where the head is not one linear layer on
            features averaged over the image.
    """

    logits: Array
    activations: Array | None


class Backend(Protocol):
    """A network that is ready to run, from any thread."""

    @property
    def device(self) -> str:
        """Name of the device: "cpu", "cuda:0"."""

    @property
    def max_batch_size(self) -> int | None:
        """Largest useful batch size; None if larger is always faster."""

    @property
    def out_of_memory(self) -> tuple[type[BaseException], ...]:
        """Exceptions that `run` raises if a batch is too large."""

    def batch_sizes(self, max_batch_size: int) -> Sequence[int]:
        """The sizes of batch to run once each before the network is quick, up to `max_batch`."""

    def run(self, batch: Array) -> Outputs:
        """Run on float32 (N, 3, H, W)."""
