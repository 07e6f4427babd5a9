"""Input normalization as the first layer of a network, on the network's device."""

from __future__ import annotations

import torch
from torch import nn

from model.imaging.transforms import EvaluationTransform


class InputNormalization(nn.Module):
    """Conversion of pixels to the normalized input of a network.

    Args:
        transform: Evaluation transform whose mean and standard deviation apply.
    """

    scale: torch.Tensor
    offset: torch.Tensor

    def __init__(self, transform: EvaluationTransform) -> None:
        super().__init__()
        mean, std = (torch.tensor(values) for values in (transform.mean, transform.std))
        # One multiplication and one addition per value: (pixel / 255 - mean) / std.
        self.register_buffer("scale", (1 / (255 * std))[:, None, None], persistent=False)
        self.register_buffer("offset", (-mean / std)[:, None, None], persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Convert uint8 (N, H, W, 3) to float32 (N, 3, H, W) in channels-last memory."""
        return pixels.permute(0, 3, 1, 2).float() * self.scale + self.offset
