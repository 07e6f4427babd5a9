"""One step, one pass over the valid photos: the part of training that touches the network.

batch -> soft targets, mixup/cutmix -> logits -> loss -> gradient -> optimizer -> average
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional

from model.backbones import set_train_mode
from model.errors import PetalscopeError
from model.training.augmentation import OUTLIER, batch_mixing, soft_targets
from model.training.config import TrainingConfig
from model.training.depthwise import replace_depthwise
from model.training.optimization import create_optimizer, create_schedule


class TrainingError(PetalscopeError):
    """The training cannot go on with these options on this machine."""


class Engine:
    """A network under training, on the device, precision and processes of an Accelerator.

    Attributes:
        optimizer: As Accelerate wrapped it.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: nn.Module,
        options: TrainingConfig,
        *,
        num_classes: int,
        steps_per_epoch: int,
    ) -> None:
        self._accelerator = accelerator
        self._options = options
        self._num_classes = num_classes
        self._mix = batch_mixing(options, num_classes)
        if accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16":
            replace_depthwise(network)
        network.to(memory_format=torch.channels_last)
        optimizer = create_optimizer(network, options)
        self._schedule = create_schedule(optimizer, options, steps_per_epoch)
        self._network, self.optimizer = accelerator.prepare(network, optimizer)
        self._average: ModelEmaV3 | None = None
        if options.average_decay:
            # Early on the average must forget faster, or a short run would keep its random start.
            self._average = ModelEmaV3(
                accelerator.unwrap_model(self._network),
                decay=options.average_decay,
                use_warmup=True,
            )
            accelerator.register_for_checkpointing(self._average)
        if self._schedule is not None:
            accelerator.register_for_checkpointing(self._schedule)

    @property
    def kept_network(self) -> nn.Module:
        """The network to evaluate and keep: the average of the weights, where there is one."""
        if self._average is not None:
            module: nn.Module = self._average.module
            return module
        unwrapped: nn.Module = self._accelerator.unwrap_model(self._network)
        return unwrapped

    def start_epoch(self) -> None:
        """Enter training mode, as far as the network is trained."""
        set_train_mode(self._network)

    def step(
        self, images: torch.Tensor, targets: torch.Tensor, *, number: int, seed: int
    ) -> tuple[float, int]:
        """Learn from one batch.

        Args:
            images: float32 (N, 3, H, W), this process's share of the batch.
            targets: int64 (N,), `OUTLIER` for none of the classes.
            number: The step's number over all epochs, from 0.
            seed: What dropout, mixup and cutmix are drawn from, so that a resumed run draws the
                same as an unbroken one.

        Returns:
            The mean loss of the batch, and how many of this process's photos were right; an
            outlier never is.

        Raises:
            TrainingError: The memory does not suffice, or the loss is not finite.
        """
        torch.manual_seed(seed)
        with _explained_out_of_memory():
            inputs, goals = self._mix(images, soft_targets(targets, self._num_classes))
            logits = self._network(inputs.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(
                logits, goals, label_smoothing=self._options.label_smoothing
            )
            value = float(loss.item())
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"The loss is {value} at step {number + 1}. Lower --lr, or train with "
                    "--precision bf16 or no; --resume would only come back here."
                )
            self._accelerator.backward(loss)
            if self._options.clip_grad is not None:
                self._accelerator.clip_grad_norm_(
                    self._network.parameters(), self._options.clip_grad
                )
            self.optimizer.step()
            self.optimizer.zero_grad()
        if self._schedule is not None:
            self._schedule.step_update(number + 1)
        if self._average is not None:
            self._average.update(self._accelerator.unwrap_model(self._network), step=number + 1)
        right = (logits.argmax(dim=-1) == goals.argmax(dim=-1)) & (targets != OUTLIER)
        return value, int(right.sum().item())

    @torch.inference_mode()
    def logits(self, batches: Iterable[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the network to be kept over prepared batches; every process gets all of it.

        Returns:
            Logits float32 (N, classes) and targets int64 (N,), on the CPU.

        Raises:
            TrainingError: The memory does not suffice.
        """
        network = self.kept_network.eval()
        outputs, expected = [], []
        for images, targets in batches:
            with _explained_out_of_memory(), self._accelerator.autocast():
                logits = network(images.contiguous(memory_format=torch.channels_last))
            both = self._accelerator.gather_for_metrics((logits.float(), targets))
            outputs.append(both[0].cpu())
            expected.append(both[1].cpu())
        return torch.cat(outputs), torch.cat(expected)


@contextmanager
def _explained_out_of_memory() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # On a CPU the allocator's failure has no class of its own.
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise TrainingError(
                "The memory does not suffice. Lower --batch-size, --train-size or --image-size, "
                "or on a GPU set --precision bf16; then start again, or --resume elsewhere."
            ) from error
        raise
