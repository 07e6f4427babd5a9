"""Training loop: epochs of steps, validation, the best checkpoint, and resumption.

A run writes its folder: arguments.json, history.csv, curves.png, samples.png, tensorboard/, the
checkpoint of the best or last epoch, and until the run is complete a state to resume from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from tqdm import tqdm

from model.backbones import data_transform
from model.checkpoint.metadata import Architecture, Metadata
from model.evaluation.metrics import compute_metrics
from model.folder_lock import only_process_in
from model.training import run_report as report
from model.training.calibration import LabelledLogits, calibrate
from model.training.config import TrainingConfig
from model.training.data import (
    ResumableOrder,
    combined_seed,
    photo_loader,
    sampling_weights,
    training_photos,
    valid_photos,
)
from model.training.data_folders import find_classes, remove_split, split_data
from model.training.engine import Engine, TrainingError, create_accelerator
from model.training.networks import load_teacher, starting_network
from model.training.optimization import learning_rate
from model.training.resume import (
    Interrupt,
    Progress,
    load_state,
    remove_state,
    save_state,
)
from model.training.run_folder import (
    CHECKPOINT_FILE,
    git_revision,
    library_versions,
    new_run_folder,
    save_run_checkpoint,
    write_config,
)

_STATE_INTERVAL: Final = 300.0  # seconds between states within an epoch


class Interrupted(Exception):  # noqa: N818  # requested by the user, so no error
    """A run that stopped early on a signal and can be resumed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"Stopped. Resume with: python scripts/train.py --resume {folder}")


def train(options: TrainingConfig, *, resume: bool = False) -> Path:
    """Train and return the path of the checkpoint.

    Args:
        options: Options of the run. Without an output, the run folder is runs/BACKBONE-TIME.
        resume: Continue from the last state in the run folder.

    Raises:
        PetalscopeError: Data, backbone, optimizer or memory prevent the training, or another
            process trains in the run folder.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
    """
    folder = options.output or new_run_folder(options)
    if not resume and folder.exists() and any(folder.iterdir()):
        raise TrainingError(
            f"{folder} already holds files. Continue a run with --resume {folder}, "
            "or choose another --output."
        )
    options = replace(options, output=folder)
    try:
        run = _Run(options, folder, resume=resume)
    except BaseException:
        if not resume:
            remove_split(options)
        raise
    main = run.accelerator.is_main_process
    with only_process_in(folder) if main else nullcontext(), Interrupt() as interrupt:
        if resume:
            load_state(run.accelerator, folder)
        return run.train(interrupt)


class _Run:
    def __init__(self, options: TrainingConfig, folder: Path, *, resume: bool) -> None:
        self.options = options
        self.folder = folder
        self.accelerator = create_accelerator(options)
        if self.accelerator.is_main_process and not resume:
            split_data(options)
        self.accelerator.wait_for_everyone()
        self.classes = find_classes(options)
        self.class_ids = [item.class_id for item in self.classes]
        self.progress = Progress()
        self.accelerator.register_for_checkpointing(self.progress)

        torch.manual_seed(options.seed)  # head initialization
        self.architecture = Architecture(
            options.backbone, len(self.classes), options.hidden_layers, options.dropout
        )
        network = starting_network(options, self.architecture, self.classes)
        self.transform = data_transform(network, options.image_size)
        self.photos = training_photos(options, self.classes, self.transform)
        valid = valid_photos(options, self.transform)

        self.order = ResumableOrder(sampling_weights(self.photos, options), options.seed)
        train_loader = photo_loader(self.photos, options, self.order)
        self.batch_size: int = train_loader.batch_size or 1
        self.steps_per_epoch = len(train_loader)
        self.engine = Engine(
            self.accelerator,
            network,
            options,
            num_classes=len(self.classes),
            steps_per_epoch=self.steps_per_epoch,
            teacher=load_teacher(options, self.classes, self.transform),
        )
        self.train_loader, self.valid_loader = self.accelerator.prepare(
            train_loader, photo_loader(valid, options)
        )

        # Made before the training, because the sources may change during it.
        self.metadata = Metadata(
            architecture=self.architecture,
            classes=self.classes,
            transform=self.transform,
            training={**options.describe(), "train_photos": len(self.photos)},
            versions=library_versions(),
            revision=git_revision(),
        )
        self.summary = [
            *report.device_lines(self.accelerator),
            *report.data_lines(options, self.photos, len(valid), self.classes),
            report.network_line(options, network, self.transform),
            f"{self.steps_per_epoch} steps of {self.batch_size} photos an epoch, "
            f"{options.epochs} epochs",
        ]

    def train(self, interrupt: Interrupt) -> Path:
        main = self.accelerator.is_main_process
        if main:
            write_config(self.folder, self.options)
            self._print_summary()
        while self.progress.epoch < self.options.epochs:
            self._train_epoch(interrupt)
            self._finish_epoch()
            save_state(self.accelerator, self.folder, self.progress)
            if interrupt.requested and self.progress.epoch < self.options.epochs:
                raise Interrupted(self.folder)
        checkpoint = self.folder / CHECKPOINT_FILE
        if main:
            remove_state(self.folder)
            history = self.progress.history
            kept = history[-1] if self.options.keep_epoch == "last" else max(history, key=_rank)
            self.accelerator.print(
                f"Top-1 on valid {kept['valid_accuracy']:.2%} in epoch {kept['epoch']:.0f}; "
                f"wrote {checkpoint}"
            )
        self.accelerator.end_training()
        return checkpoint

    def _train_epoch(self, interrupt: Interrupt) -> None:
        progress, began = self.progress, time.monotonic()
        stored, spent_before = began, progress.seconds
        self.photos.start(progress.epoch)
        self.order.start(progress.epoch, skipped=progress.step * self.batch_size)
        self.engine.start_epoch()
        bar = tqdm(
            total=self.steps_per_epoch,
            initial=progress.step,
            desc=f"epoch {progress.epoch + 1}",
            unit="step",
            leave=False,
            disable=None if self.accelerator.is_main_process else True,
        )
        # A run stopped after the last step of an epoch resumes with no batches left.
        batches = self.train_loader if progress.step < self.steps_per_epoch else ()
        with bar:
            for images, targets in batches:
                number = progress.epoch * self.steps_per_epoch + progress.step
                seed = combined_seed(self.options.seed, number, self.accelerator.process_index)
                loss, correct = self.engine.step(images, targets, number=number, seed=seed)
                totals = torch.tensor([loss, correct], device=self.accelerator.device)
                totals = self.accelerator.reduce(totals, reduction="sum")
                progress.step += 1
                progress.loss_sum += float(totals[0]) / self.accelerator.num_processes
                progress.correct += int(totals[1])
                progress.seconds = spent_before + time.monotonic() - began
                bar.update()
                bar.set_postfix(loss=f"{progress.loss_sum / progress.step:.3f}", refresh=False)
                due = time.monotonic() - stored > _STATE_INTERVAL
                stop = self._any_process(interrupt.requested)
                if stop or self._any_process(due):
                    save_state(self.accelerator, self.folder, progress)
                    stored = time.monotonic()
                if stop:
                    raise Interrupted(self.folder)

    def _finish_epoch(self) -> None:
        progress, began = self.progress, time.monotonic()
        logits, targets = self.engine.logits(self.valid_loader)
        metrics = compute_metrics(logits, targets, self.class_ids)
        progress.seconds += time.monotonic() - began
        row = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss_sum / progress.step,
            "train_accuracy": progress.correct / (progress.step * self.batch_size),
            "valid_loss": metrics.loss,
            "valid_accuracy": metrics.top1,
            "learning_rate": learning_rate(self.engine.optimizer),
            "seconds": progress.seconds,
        }
        # Ties in accuracy go to the lower loss.
        best = all(_rank(row) > _rank(earlier) for earlier in progress.history)
        progress.history.append(row)
        progress.epoch, progress.step, progress.loss_sum, progress.correct = (
            progress.epoch + 1, 0, 0.0, 0,
        )  # fmt: skip
        if self.accelerator.is_main_process:
            if best or self.options.keep_epoch == "last":
                self._save_checkpoint(logits, targets)
            report.write_history(self.folder / "history.csv", progress.history)
            report.write_events(self.folder / "tensorboard", row)
            report.draw_curves(self.folder / "curves.png", progress.history)
            self.accelerator.print(report.epoch_line(row, self.options.epochs, best))

    def _save_checkpoint(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        save_run_checkpoint(
            self.folder,
            self.engine.kept_network,
            self.metadata,
            calibrate([LabelledLogits("valid", logits, targets)], self.classes),
            epoch=self.progress.epoch,
            half_precision=self.options.checkpoint_dtype == "float16",
        )

    def _print_summary(self) -> None:
        progress = self.progress
        for line in self.summary:
            self.accelerator.print(line)
        if progress.epoch or progress.step:
            self.accelerator.print(
                f"Resuming in epoch {progress.epoch + 1} after step {progress.step}"
            )
            return
        report.draw_samples(
            self.folder / "samples.png",
            self.photos,
            self.classes,
            self.transform,
            self.options.seed,
        )

    def _any_process(self, flag: bool) -> bool:
        """Return True in every process if the flag is set in any of them."""
        if self.accelerator.num_processes == 1:
            return flag
        flags = torch.tensor([int(flag)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flags, reduction="sum").item())


def _rank(row: Mapping[str, float]) -> tuple[float, float]:
    return row["valid_accuracy"], -row["valid_loss"]
