"""Training loop: epochs of steps, validation, the best checkpoint, and resumption.

A run writes its folder: arguments.json, history.csv, curves.png, samples.png, tensorboard/, the
checkpoint of the best or last epoch, and until the run is complete a state to resume from.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from accelerate import Accelerator
from tqdm import tqdm

from model.backbones import data_transform
from model.checkpoint.metadata import Architecture, Metadata
from model.data.ignored_files import ignored_files, ignored_line
from model.evaluation.metrics import compute_metrics
from model.folder_lock import only_process_in
from model.training import run_report as report
from model.training.calibration import LabelledLogits, calibrate
from model.training.config import TrainingConfig
from model.training.data import (
    ResumableOrder,
    background_photos,
    combined_seed,
    photo_folders,
    photo_loader,
    sampling_weights,
    training_photos,
    valid_photos,
)
from model.training.data_folders import find_classes, remove_split, split_data
from model.training.engine import (
    Engine,
    TrainingError,
    create_accelerator,
    on_main_process,
    steps_per_sync,
)
from model.training.networks import load_teacher, starting_network
from model.training.optimization import learning_rate
from model.training.photo_check import (
    UnreadablePhotosError,
    listed,
    unreadable_photos,
)
from model.training.resume import (
    Interrupt,
    Progress,
    load_state,
    remove_state,
    save_state,
)
from model.training.run_folder import (
    CHECKPOINT_FILE,
    HISTORY_FILE,
    git_revision,
    library_versions,
    save_run_checkpoint,
    usable_folder,
    write_config,
)

_STATE_INTERVAL: Final = 300.0  # seconds between states within an epoch
_EVENTS_FOLDER: Final = "tensorboard"


class Interrupted(Exception):  # noqa: N818  # requested by the user, so no error
    """A run that stopped early on a signal and can be resumed."""

    def __init__(self, folder: Path) -> None:
        command = shlex.join(["python", "scripts/train.py", "--resume", str(folder)])
        super().__init__(f"Stopped. Resume with: {command}")


def train(options: TrainingConfig, *, resume: bool = False) -> Path:
    """Train and return the path of the checkpoint.

    Args:
        options: Options of the run. Without an output, the run folder is runs/BACKBONE-TIME.
        resume: Continue from the last state in the run folder, or from the beginning if the run
            ended before its first state.

    Raises:
        PetalscopeError: Data, backbone, optimizer or memory prevent the training, or another
            process trains in the run folder.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
    """
    accelerator = create_accelerator(options)
    folder = on_main_process(accelerator, lambda: usable_folder(options, resume=resume))
    options = replace(options, output=folder)
    try:
        if not resume:
            on_main_process(accelerator, lambda: split_data(options))
        run = _Run(accelerator, options, folder)
    except BaseException:
        if not resume:
            remove_split(options)
        raise
    with ExitStack() as stack:
        on_main_process(accelerator, lambda: stack.enter_context(only_process_in(folder)))
        interrupt = stack.enter_context(Interrupt())
        if resume:
            load_state(accelerator, folder)
        return run.train(interrupt)


class _Run:
    def __init__(self, accelerator: Accelerator, options: TrainingConfig, folder: Path) -> None:
        self.accelerator = accelerator
        self.options = options
        self.folder = folder
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
        skipped = self._unreadable_photos() if options.check_photos != "no" else {}
        self.photos = training_photos(options, self.classes, self.transform, skipped)
        valid = valid_photos(options, self.classes, self.transform, skipped)
        ignored = ignored_files(photo_folders(options)) if accelerator.is_main_process else None

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
            training={
                **options.describe(),
                "train_photos": len(self.photos),
                "skipped_photos": len(skipped),
            },
            versions=library_versions(),
            revision=git_revision(),
        )
        self.summary = [
            *report.device_lines(self.accelerator),
            *report.data_lines(options, self.photos, len(valid), self.classes),
            *([f"Skipped {len(skipped)} unreadable photos:", *listed(skipped)] if skipped else []),
            *([ignored_line(ignored)] if ignored else []),
            report.network_line(options, network, self.transform),
            f"{self.steps_per_epoch} steps of {self.batch_size} photos an epoch, "
            f"{options.epochs} epochs",
            "Curves, samples and options: "
            + shlex.join(["tensorboard", "--logdir", str(folder / _EVENTS_FOLDER)]),
        ]

    def _unreadable_photos(self) -> dict[Path, str]:
        photos = training_photos(self.options, self.classes, self.transform)
        valid = valid_photos(self.options, self.classes, self.transform)
        sides: dict[Path, int | None] = {
            **{Path(path): self.transform.resize for path, _ in valid.samples},
            **{sample.path: None for sample in photos.samples},
            **dict.fromkeys(background_photos(self.options)),
        }
        found = unreadable_photos(self.accelerator, sides)
        if found and self.options.check_photos == "stop":
            raise UnreadablePhotosError(found, len(sides))
        return found

    def train(self, interrupt: Interrupt) -> Path:
        main = self.accelerator.is_main_process
        if main:
            write_config(self.folder, self.options)
            self._print_summary()
        while self.progress.epoch < self.options.epochs:
            try:
                self._train_epoch(interrupt)
                self._finish_epoch()
            except RuntimeError:
                # Ctrl-C ends worker processes that are still starting.
                if interrupt.requested:
                    raise Interrupted(self.folder) from None
                raise
            save_state(self.accelerator, self.folder, self.progress)
            if self.progress.epoch < self.options.epochs:
                self._stop_if(self._any_process(interrupt.requested))
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
        interval = steps_per_sync(self.accelerator.device)
        totals = torch.zeros(3, device=self.accelerator.device)
        with bar:
            for images, targets in batches:
                number = progress.epoch * self.steps_per_epoch + progress.step
                seed = combined_seed(self.options.seed, number, self.accelerator.process_index)
                totals += self.engine.step(images, targets, number=number, seed=seed)
                progress.step += 1
                bar.update()
                if progress.step % interval and progress.step < self.steps_per_epoch:
                    continue
                self._add_to_progress(totals)
                totals.zero_()
                progress.seconds = spent_before + time.monotonic() - began
                bar.set_postfix(loss=f"{progress.loss_sum / progress.step:.3f}", refresh=False)
                stop = self._any_process(interrupt.requested)
                if stop or self._any_process(time.monotonic() - stored > _STATE_INTERVAL):
                    save_state(self.accelerator, self.folder, progress)
                    stored = time.monotonic()
                self._stop_if(stop)

    def _add_to_progress(self, totals: torch.Tensor) -> None:
        """Add the sums of `Engine.step`, float32 (3,), of all processes to the progress.

        Raises:
            TrainingError: The loss is not finite.
        """
        progress = self.progress
        loss, correct, with_class = self.accelerator.reduce(totals, reduction="sum").tolist()
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} at step {progress.step} of epoch {progress.epoch + 1}. Lower "
                "--lr, or train with --precision bf16 or no. Resuming would fail at the same step."
            )
        progress.loss_sum += loss / self.accelerator.num_processes
        progress.correct += round(correct)
        progress.with_class += round(with_class)

    def _stop_if(self, stop: bool) -> None:
        if stop:
            self.accelerator.end_training()
            raise Interrupted(self.folder)

    def _finish_epoch(self) -> None:
        progress, began = self.progress, time.monotonic()
        logits, targets = self.engine.logits(self.valid_loader)
        metrics = compute_metrics(logits, targets, self.class_ids)
        progress.seconds += time.monotonic() - began
        row = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss_sum / progress.step,
            "train_accuracy": progress.correct / max(progress.with_class, 1),
            "valid_loss": metrics.loss,
            "valid_accuracy": metrics.top1,
            "learning_rate": learning_rate(self.engine.optimizer),
            "seconds": progress.seconds,
        }
        # Ties in accuracy go to the lower loss.
        best = all(_rank(row) > _rank(earlier) for earlier in progress.history)
        progress.history.append(row)
        progress.start_epoch(progress.epoch + 1)
        if self.accelerator.is_main_process:
            if best or self.options.keep_epoch == "last":
                self._save_checkpoint(logits, targets)
            report.write_history(self.folder / HISTORY_FILE, progress.history)
            report.write_events(self.folder / _EVENTS_FOLDER, row)
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
        samples = self.folder / "samples.png"
        report.draw_samples(samples, self.photos, self.classes, self.transform, self.options.seed)
        report.write_start_events(self.folder / _EVENTS_FOLDER, self.options, samples)

    def _any_process(self, flag: bool) -> bool:
        """Return True in every process if the flag is set in any of them."""
        if self.accelerator.num_processes == 1:
            return flag
        flags = torch.tensor([int(flag)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flags, reduction="sum").item())


def _rank(row: Mapping[str, float]) -> tuple[float, float]:
    return row["valid_accuracy"], -row["valid_loss"]
