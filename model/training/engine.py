"""Training steps and validation passes of the network, on Accelerate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import broadcast_object_list
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional

from model.backbones import set_train_mode
from model.errors import PetalscopeError
from model.training.augmentation import OOD_TARGET, batch_mixing, soft_targets
from model.training.config import TrainingConfig
from model.training.depthwise import replace_depthwise
from model.training.distillation import Teacher
from model.training.optimization import create_optimizer, create_schedule

Result = TypeVar("Result")

_STEPS_PER_SYNC: Final = 10  # a few seconds on a GPU


class TrainingError(PetalscopeError):
    """A training that cannot run with these options on this machine."""


class Engine:
    """Network, optimizer, schedule, weight average and teacher of a run.

    Args:
        accelerator: Accelerate's device, precision and processes.
        network: The network to train; it is changed in place.
        options: Options of the run.
        num_classes: Number of classes.
        steps_per_epoch: Optimizer steps in an epoch, for the schedule.
        teacher: Network to distill from, if any.

    Attributes:
        optimizer: The optimizer, wrapped by Accelerate.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: nn.Module,
        options: TrainingConfig,
        *,
        num_classes: int,
        steps_per_epoch: int,
        teacher: Teacher | None = None,
    ) -> None:
        self._accelerator = accelerator
        self._options = options
        self._num_classes = num_classes
        self._teacher = teacher
        self._mix = batch_mixing(options, num_classes)
        if accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16":
            replace_depthwise(network)
        network.to(memory_format=torch.channels_last)
        optimizer = create_optimizer(network, options)
        self._schedule = create_schedule(optimizer, options, steps_per_epoch)
        self._network, self.optimizer = accelerator.prepare(network, optimizer)
        self._average: ModelEmaV3 | None = None
        if options.model_ema_decay:
            # Warmup: with the full decay, a short run would keep its random start.
            self._average = ModelEmaV3(
                accelerator.unwrap_model(self._network),
                decay=options.model_ema_decay,
                use_warmup=True,
            )
            accelerator.register_for_checkpointing(self._average)
        if self._schedule is not None:
            accelerator.register_for_checkpointing(self._schedule)

    @property
    def kept_network(self) -> nn.Module:
        """The network to evaluate and save: the weight average, if enabled."""
        if self._average is not None:
            module: nn.Module = self._average.module
            return module
        unwrapped: nn.Module = self._accelerator.unwrap_model(self._network)
        return unwrapped

    def start_epoch(self) -> None:
        """Set the trainable parts of the network to training mode."""
        set_train_mode(self._network)

    def step(
        self, images: torch.Tensor, targets: torch.Tensor, *, number: int, seed: int
    ) -> torch.Tensor:
        """Run one optimizer step without waiting for the device.

        Args:
            images: float32 (N, 3, H, W), this process's part of the batch.
            targets: int64 (N,), `OOD_TARGET` for OOD photos.
            number: Index of the step over all epochs, from 0.
            seed: Seed of dropout, mixup and cutmix, so that a resumed run repeats the draws of an
                uninterrupted one.

        Returns:
            float32 (3,) on the device, for this process: the mean loss of the batch, the number of
            correctly classified photos, and the number of photos of a class. OOD photos are in
            neither number.

        Raises:
            TrainingError: Out of memory.
        """
        torch.manual_seed(seed)
        with _out_of_memory_as_training_error():
            inputs, goals = self._mix(images, soft_targets(targets, self._num_classes))
            logits = self._network(inputs.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(
                logits, goals, label_smoothing=self._options.label_smoothing
            )
            if self._teacher is not None:
                with self._accelerator.autocast():
                    learned = self._teacher.targets(inputs)
                loss = torch.lerp(
                    loss, self._teacher.loss(logits, learned), self._options.distillation_weight
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
        has_class = targets != OOD_TARGET
        correct = (logits.argmax(dim=-1) == goals.argmax(dim=-1)) & has_class
        return torch.stack([loss.detach().float(), correct.sum().float(), has_class.sum().float()])

    @torch.inference_mode()
    def logits(self, batches: Iterable[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Run `kept_network` over prepared batches and gather the results in every process.

        Args:
            batches: Float32 images (N, 3, H, W) and int64 targets (N,), from Accelerate's loader.

        Returns:
            Logits float32 (N, classes) and targets int64 (N,), on the CPU.

        Raises:
            TrainingError: Out of memory.
        """
        network = self.kept_network.eval()
        outputs, expected = [], []
        for images, targets in batches:
            with _out_of_memory_as_training_error(), self._accelerator.autocast():
                logits = network(images.contiguous(memory_format=torch.channels_last))
            both = self._accelerator.gather_for_metrics((logits.float(), targets))
            outputs.append(both[0])
            expected.append(both[1])
        return torch.cat(outputs).cpu(), torch.cat(expected).cpu()


def create_accelerator(options: TrainingConfig) -> Accelerator:
    """Set up Accelerate with the device and precision of the options.

    Raises:
        TrainingError: The device does not support the precision or several processes.
    """
    precision = options.precision
    # Without this, Accelerate ignores a launcher of several processes on a machine without a GPU.
    on_cpu = options.device == "cpu" or not torch.accelerator.is_available()
    if precision == "auto":
        on_gpu = not on_cpu and torch.cuda.is_available()
        fast = torch.cuda.is_bf16_supported() if on_gpu else _cpu_has_bf16()
        precision = "bf16" if fast else "no"
    try:
        accelerator = Accelerator(
            cpu=on_cpu,
            mixed_precision=precision,
            # The batch size is global: more processes share the same photos of a step.
            dataloader_config=DataLoaderConfiguration(split_batches=True, non_blocking=True),
        )
    except ValueError as error:
        raise TrainingError(
            f"This device does not support --precision {precision}: {error}"
        ) from error
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > accelerator.num_processes:
        raise TrainingError(
            f"{launched} processes were launched, but {accelerator.device.type} supports only one. "
            "Start train.py without the launcher, or add --device cpu."
        )
    return accelerator


def on_main_process(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Run an action in the main process and return its result in every process.

    Raises:
        PetalscopeError, OSError: The action failed. Every process raises it, so that none waits.
    """
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = action()
        except (PetalscopeError, OSError) as error:
            outcome[1] = error
    result, failure = broadcast_object_list(outcome)
    if failure is not None:
        raise failure
    return cast(Result, result)


def steps_per_sync(device: torch.device) -> int:
    """Return the number of steps between two reads of the metrics from the device.

    Each read waits for all queued steps. On a CPU nothing is queued.
    """
    return 1 if device.type == "cpu" else _STEPS_PER_SYNC


def _cpu_has_bf16() -> bool:
    # Without these instructions, emulated bfloat16 is many times slower than float32.
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def _out_of_memory_as_training_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # On a CPU, PyTorch raises a plain RuntimeError for a failed allocation.
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise TrainingError(
                "Out of memory. Lower --batch-size, --train-size or --image-size, or on a GPU use "
                "--precision bf16, and start again; or --resume on a machine with more memory."
            ) from error
        raise
