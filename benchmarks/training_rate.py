"""Benchmark of the training rate: real loader, batch in memory, and a bare loop.

The three run in turn. The ratio of the first two shows the cost of decoding and augmentation.

python -m benchmarks.training_rate --data data/oxford102
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import torch
from accelerate import Accelerator
from torch import nn

from benchmarks.environments import ROOT
from benchmarks.results_file import print_rounds, write_csv
from model.backbones import build_network, data_transform
from model.checkpoint.metadata import Architecture
from model.training.config import TrainingConfig
from model.training.data import (
    ResumableOrder,
    photo_loader,
    sampling_weights,
    training_photos,
)
from model.training.data_folders import find_classes
from model.training.engine import Engine

_WARM_UP: Final = 2  # steps

Batch = tuple[torch.Tensor, torch.Tensor]


class Training:
    """A network, the loader of its training photos, and one batch in memory."""

    def __init__(self, options: TrainingConfig, precision: str) -> None:
        self._accelerator = Accelerator(mixed_precision=precision)
        classes = find_classes(options)
        network = build_network(Architecture(options.backbone, len(classes)))
        photos = training_photos(options, classes, data_transform(network, options.image_size))
        order = ResumableOrder(sampling_weights(photos, options), options.seed)
        loader = photo_loader(photos, options, order)
        self._engine = Engine(
            self._accelerator,
            network,
            options,
            num_classes=len(classes),
            steps_per_epoch=len(loader),
        )
        self._engine.start_epoch()
        # The same network for the baseline, without augmentation, averaging and gradient clipping.
        self._network: nn.Module = self._accelerator.unwrap_model(network)
        self._loader = self._accelerator.prepare(loader)
        self._steps = 0
        self.in_memory = next(self.from_folder())

    def from_folder(self) -> Iterator[Batch]:
        """Yield batches from the training loader."""
        yield from self._loader

    def step(self, batch: Batch) -> None:
        """Run one training step of the engine."""
        self._engine.step(*batch, number=self._steps, seed=self._steps)
        self._steps += 1

    def baseline_step(self, batch: Batch) -> None:
        """Run the forward pass, the backward pass and the optimizer step alone."""
        images, targets = batch
        with self._accelerator.autocast():
            logits = self._network(images.contiguous(memory_format=torch.channels_last))
            loss = nn.functional.cross_entropy(logits, targets)
        self._accelerator.backward(loss)
        self._engine.optimizer.step()
        self._engine.optimizer.zero_grad()


def rate(step: Callable[[Batch], None], batches: Iterator[Batch], steps: int) -> float:
    """Return photos per second after the warm-up steps."""
    for _ in range(_WARM_UP):
        step(next(batches))
    started, photos = time.perf_counter(), 0
    for _ in range(steps):
        batch = next(batches)
        step(batch)
        photos += len(batch[0])
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return photos / (time.perf_counter() - started)


def measure(training: Training, steps: int) -> dict[str, float]:
    """Return one measurement of each of the three, taken in turn."""

    def memory() -> Iterator[Batch]:
        while True:
            yield training.in_memory

    baseline = rate(training.baseline_step, memory(), steps)
    from_memory = rate(training.step, memory(), steps)
    trained = rate(training.step, training.from_folder(), steps)
    return {
        "baseline_rate": baseline,
        "steps_from_memory_rate": from_memory,
        "training_rate": trained,
        "steps_over_baseline": from_memory / baseline,
        "training_over_baseline": trained / baseline,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure photos per second of training.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and valid/")
    parser.add_argument("--backbone", default="tf_efficientnet_lite2")
    parser.add_argument("--size", type=int, default=192, help="side of an image in pixels")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--precision", choices=["no", "bf16", "fp16"], default="no")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="steps per measurement")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    training = Training(
        TrainingConfig(
            data=options.data,
            backbone=options.backbone,
            from_scratch=True,
            train_size=options.size,
            batch_size=options.batch,
        ),
        options.precision,
    )
    rows = [measure(training, options.steps) for _ in range(options.rounds)]
    write_csv(options.output / "training_rate.csv", rows)
    print_rounds(rows)


if __name__ == "__main__":
    main()
