"""From images to ranked names.

RGB images -> transform (any thread) -> float32 N×3×H×W -> network -> logits
           -> softmax(logits / temperature) -> top k as (class id, name, probability)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from model.checkpoint import Metadata, load_checkpoint
from model.errors import PetalscopeError

_DIGEST_LENGTH: Final = 12


class DeviceError(PetalscopeError):
    """The device does not exist here."""


@dataclass(frozen=True)
class Prediction:
    """One class and its probability, in [0, 1]."""

    class_id: str
    name: str
    probability: float


class Classifier:
    """A network with its transform, temperature and names: loaded once, used from any thread.

    Nothing in it changes after it was made, so that threads need no lock.

    Attributes:
        metadata: What the checkpoint says about itself.
        device: Where the network runs.
        version: First digits of the checkpoint file's SHA-256, which tell one model from another.
    """

    def __init__(
        self, network: nn.Module, metadata: Metadata, device: torch.device, version: str = ""
    ) -> None:
        self.metadata = metadata
        self.device = device
        self.version = version
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> Classifier:
        """Load a checkpoint, wherever it was trained.

        Args:
            path: The checkpoint.
            device: "auto" (the GPU where there is one), "cpu", "cuda" or "cuda:1".

        Raises:
            CheckpointError: The file cannot be used.
            DeviceError: The device does not exist here.
        """
        chosen = resolve_device(device)
        network, metadata = load_checkpoint(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(network, metadata, chosen, digest[:_DIGEST_LENGTH])

    def preprocess(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Transform one RGB image to the network's input, float32 of shape (3, H, W)."""
        return self.metadata.transform(image)

    def logits(self, batch: npt.NDArray[np.float32]) -> torch.Tensor:
        """Run the network on float32 (N, 3, H, W); return float32 logits (N, classes) on the CPU.

        The logits are as the network gives them, not yet divided by the temperature.
        """
        # Inference mode is a property of the thread: it is entered where the network runs.
        with torch.inference_mode():
            inputs = torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last)
            outputs: torch.Tensor = self._network(inputs)
            return outputs.float().cpu()

    def probabilities(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run the network on float32 (N, 3, H, W); return (N, classes), each row summing to 1."""
        return self.calibrated(self.logits(batch))

    def calibrated(self, logits: torch.Tensor) -> npt.NDArray[np.float32]:
        """Turn logits (N, classes) into probabilities by the checkpoint's temperature."""
        probabilities: npt.NDArray[np.float32] = torch.softmax(
            logits / self.metadata.temperature, dim=-1
        ).numpy()
        return probabilities

    def rank(self, probabilities: npt.NDArray[np.float32], top_k: int = 5) -> list[Prediction]:
        """Name the `top_k` likeliest classes of one row of probabilities, the likeliest first.

        Raises:
            ValueError: `top_k` is not from 1 to the number of classes.
        """
        classes = self.metadata.classes
        if not 1 <= top_k <= len(classes):
            raise ValueError(f"top_k is {top_k}; it must be from 1 to {len(classes)}")
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        return [
            Prediction(classes[i].class_id, classes[i].name, float(probabilities[i])) for i in order
        ]

    def predict(self, images: Sequence[Image.Image], top_k: int = 5) -> list[list[Prediction]]:
        """Classify RGB images in one batch; return the ranked names of each."""
        if not images:
            return []
        batch = np.stack([self.preprocess(image) for image in images])
        return [self.rank(row, top_k) for row in self.probabilities(batch)]


def resolve_device(name: str) -> torch.device:
    """Find the device meant by "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        DeviceError: The name is none of these, or there is no such device.
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
            f"The device {name} was asked for, but PyTorch sees {count} CUDA devices; "
            "choose auto or cpu, or check the driver with nvidia-smi."
        )
    return torch.device(name)
