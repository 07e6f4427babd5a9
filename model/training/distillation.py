"""Knowledge distillation from a larger checkpoint (Hinton et al. 2015).

The teacher sees the same augmented and mixed batch as the network that is trained (Beyer et al.
2022, "Knowledge distillation: A good teacher is patient and consistent").
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from model.imaging.transforms import EvaluationTransform


class Teacher:
    """A frozen checkpoint whose predictions are training targets.

    Args:
        network: Network of the same classes; it is set to evaluation mode and frozen.
        transform: The evaluation transform that the network was trained with.
        inputs: The evaluation transform of the network to train.
        temperature: Divisor of both networks' logits, above 0.
    """

    def __init__(
        self,
        network: nn.Module,
        transform: EvaluationTransform,
        inputs: EvaluationTransform,
        temperature: float,
    ) -> None:
        self._network = network.eval().requires_grad_(False)
        self._network.to(memory_format=torch.channels_last)
        self._temperature = temperature
        # Batches are normalized for the network to train; one affine map per channel changes that.
        mean, std = (torch.tensor(values) for values in (transform.mean, transform.std))
        from_mean, from_std = (torch.tensor(values) for values in (inputs.mean, inputs.std))
        self._scale = (from_std / std)[:, None, None]
        self._shift = ((from_mean - mean) / std)[:, None, None]

    @torch.no_grad()
    def targets(self, images: torch.Tensor) -> torch.Tensor:
        """Return the softened class probabilities of a batch.

        Args:
            images: float32 (N, 3, H, W), normalized for the network to train.

        Returns:
            float32 (N, classes).
        """
        device = images.device
        self._network.to(device)
        images = images * self._scale.to(device) + self._shift.to(device)
        logits = self._network(images.contiguous(memory_format=torch.channels_last))
        softened: torch.Tensor = (logits.float() / self._temperature).softmax(dim=-1)
        return softened

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy of the softened predictions, a scalar.

        The factor T^2 keeps the gradients' size independent of the temperature T.

        Args:
            logits: float32 (N, classes) of the network to train.
            targets: The result of `targets` for the same batch.
        """
        softened = functional.cross_entropy(logits / self._temperature, targets)
        return softened * self._temperature**2
