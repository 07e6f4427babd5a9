"""Reports of a run: history.csv, TensorBoard events, curves.png, samples.png and console lines."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from PIL import Image
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from model.atomic_write import atomic_write
from model.checkpoint.labels import FlowerClass
from model.imaging.transforms import EvaluationTransform
from model.training.augmentation import OOD_TARGET, denormalized
from model.training.config import TrainingConfig
from model.training.data import SeededPhotos, combined_seed

_GRID: Final = (4, 6)  # rows, columns
_LONGEST_TITLE: Final = 22  # characters

Row = dict[str, float]


def write_history(path: Path, history: Sequence[Row]) -> None:
    """Write one CSV row per epoch, replacing the file."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def write_events(folder: Path, row: Row) -> None:
    """Add an epoch to the TensorBoard events; a repeated epoch replaces its earlier values."""
    epoch = int(row["epoch"])
    with SummaryWriter(str(folder), purge_step=epoch) as writer:
        for name in row.keys() - {"epoch"}:
            writer.add_scalar(name.replace("_", "/", 1), row[name], epoch)


def write_start_events(folder: Path, options: TrainingConfig, samples: Path) -> None:
    """Add the options and the image of `draw_samples` to the TensorBoard events.

    Args:
        folder: Folder of the events.
        options: Options of the run.
        samples: PNG file.
    """
    rows = [f"| {name} | {value} |" for name, value in options.to_dict().items()]
    with SummaryWriter(str(folder)) as writer, Image.open(samples) as image:
        writer.add_text("options", "\n".join(["| option | value |", "| --- | --- |", *rows]))
        writer.add_image("samples", np.asarray(image.convert("RGB")), dataformats="HWC")


def draw_curves(path: Path, history: Sequence[Row]) -> None:
    """Plot training and validation loss and accuracy over the epochs, as PNG."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, measure, scale in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), (1.0, 100.0), strict=True
    ):
        for part in ("train", "valid"):
            values = [scale * row[f"{part}_{measure}"] for row in history]
            axes.plot(epochs, values, marker="o", markersize=3, label=part)
        axes.set_xlabel("epoch")
        axes.set_ylabel(measure if measure == "loss" else "top-1 accuracy (%)")
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def draw_samples(
    path: Path,
    photos: SeededPhotos,
    classes: Sequence[FlowerClass],
    transform: EvaluationTransform,
    seed: int,
) -> None:
    """Plot a grid of up to 24 random augmented training photos with their class names, as PNG.

    Args:
        path: File to write.
        photos: Training photos, OOD photos included.
        classes: Classes in index order.
        transform: Evaluation transform, whose normalization is undone.
        seed: Random seed of the choice.
    """
    rows, columns = _GRID
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(photos), generator=generator)[: rows * columns].tolist()
    rows = math.ceil(len(chosen) / columns)
    figure = Figure(figsize=(2 * columns, 2.25 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, index in zip(grid, chosen, strict=False):
        image, target = photos[index]
        axes.imshow(denormalized(image, transform).permute(1, 2, 0).numpy())
        title = "OOD" if target == OOD_TARGET else classes[target].label
        axes.set_title(
            title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 1] + "…",
            fontsize=8,
            parse_math=False,
        )
    with atomic_write(path) as temporary, warnings.catch_warnings():
        # Class names may be in a script that matplotlib's font does not have.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(temporary, format="png", dpi=120)


def device_lines(accelerator: Accelerator) -> list[str]:
    """Format device, number of processes and precision, with a warning if it is a CPU."""
    device = accelerator.device
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else device.type.upper()
    line = f"{name} × {accelerator.num_processes}, precision {accelerator.mixed_precision}"
    warning = "Training on the CPU, which takes many times longer than a CUDA device."
    return [warning, line] if device.type == "cpu" else [line]


def data_lines(
    options: TrainingConfig,
    photos: SeededPhotos,
    valid_count: int,
    classes: Sequence[FlowerClass],
) -> list[str]:
    """Format the numbers of photos and classes, and one random training photo with its class."""
    ood_count = sum(sample.target == OOD_TARGET for sample in photos.samples)
    train_count = len(photos) - ood_count
    # OOD photos come last, so the example has a class.
    path, target, _ = photos.samples[combined_seed(options.seed) % train_count]
    return [
        f"{train_count} train and {valid_count} valid photos of {len(classes)} classes in "
        f"{options.data}{f', {ood_count} OOD photos' if ood_count else ''}",
        f"Example: {path} is {classes[target].label}, index {target}",
    ]


def network_line(
    options: TrainingConfig, network: nn.Module, transform: EvaluationTransform
) -> str:
    """Format the backbone, its parameters in millions and the image sizes."""
    parameters = sum(item.numel() for item in network.parameters())
    trainable = sum(item.numel() for item in network.parameters() if item.requires_grad)
    return (
        f"{options.backbone}: {parameters / 1e6:.1f} M parameters, "
        f"{trainable / 1e6:.1f} M trainable, {options.train_size or transform.crop} px in "
        f"training, {transform.crop} px in validation"
    )


def epoch_line(row: Row, epochs: int, best: bool) -> str:
    """Format the metrics of an epoch and the remaining time as one line.

    Args:
        row: Row of the history.
        epochs: Number of epochs of the run.
        best: True if the checkpoint is of this epoch.
    """
    left = row["seconds"] / row["epoch"] * (epochs - row["epoch"])
    return (
        f"epoch {row['epoch']:{len(str(epochs))}.0f}/{epochs}"
        f"  train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:7.2%}"
        f"  valid loss {row['valid_loss']:.4f} accuracy {row['valid_accuracy']:7.2%}"
        f"  {_duration(row['seconds'])} elapsed, {_duration(left)} left"
        f"{'  best so far' if best else ''}"
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
