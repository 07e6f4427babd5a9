"""A whole training: from options to a checkpoint and a run folder.

    options -> classes, network, photos -> epochs (engine) -> best weights -> RUN/checkpoint

The run folder holds arguments.json, history.csv, curves.png, samples.png, tensorboard/, the
checkpoint of the best epoch so far, and while the run is not complete the state to resume from.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from torch import nn
from tqdm import tqdm

from model.atomic_write import atomic_write
from model.backbones import build_network, data_transform, freeze_backbone, freeze_groups
from model.checkpoint.architecture import Architecture
from model.checkpoint.format import load_checkpoint, save_checkpoint
from model.checkpoint.metadata import Metadata
from model.evaluation.metrics import measure
from model.folder_lock import only_process_in
from model.training import run_report as report
from model.training.augmentation import OUTLIER
from model.training.calibration import calibrate
from model.training.config import TrainingConfig
from model.training.data import (
    ResumableOrder,
    combined_seed,
    find_classes,
    photo_loader,
    sampling_weights,
    training_photos,
    valid_photos,
)
from model.training.engine import Engine, TrainingError
from model.training.interrupt import Interrupt
from model.training.optimization import learning_rate
from model.training.provenance import revision, versions
from model.training.resume import Progress, ResumeError, load_state, remove_state, save_state

CHECKPOINT_FILE: Final = "checkpoint.safetensors"
_ARGUMENTS_FILE: Final = "arguments.json"
_STATE_INTERVAL: Final = 300.0  # seconds between states inside an epoch


class Interrupted(Exception):  # noqa: N818  # not an error: the user asked for it
    """The run stopped early, in a state it can go on from."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"Stopped. Go on with: python scripts/train.py --resume {folder}")


def read_config(folder: Path) -> TrainingConfig:
    """Read the options that a run folder was started with.

    Raises:
        ResumeError: There is no such folder, or its options cannot be read.
    """
    path = folder / _ARGUMENTS_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return replace(TrainingConfig.from_dict(values), output=folder)
    except FileNotFoundError:
        raise ResumeError(f"{folder} is not a run folder: it has no {_ARGUMENTS_FILE}.") from None
    except (OSError, ValueError, TypeError) as error:
        raise ResumeError(f"{path} cannot be read: {error}.") from error


def train(options: TrainingConfig, *, resume: bool = False) -> Path:
    """Train, and return the path of the checkpoint.

    Args:
        options: What to train. Without an output, a run folder is named by backbone and time.
        resume: Go on from the last state in the run folder.

    Raises:
        PetalscopeError: In its subclasses: data, backbone, optimizer or memory do not allow it, or
            another process trains in the run folder.
        Interrupted: By Ctrl-C or SIGTERM, once the state is stored.
    """
    folder = options.output or _new_folder(options)
    if not resume and folder.exists() and any(folder.iterdir()):
        raise TrainingError(
            f"{folder} already holds files. Continue a run with --resume {folder}, "
            "or choose another --output."
        )
    run = _Run(replace(options, output=folder), folder)
    main = run.accelerator.is_main_process
    with only_process_in(folder) if main else nullcontext(), Interrupt() as interrupt:
        if resume:
            load_state(run.accelerator, folder)
        return run.train(interrupt)


class _Run:
    def __init__(self, options: TrainingConfig, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.revision = revision()  # now: the sources may change while the run goes on
        self.accelerator = _accelerator(options)
        self.classes = find_classes(options)
        self.class_ids = [item.class_id for item in self.classes]
        self.progress = Progress()
        self.accelerator.register_for_checkpointing(self.progress)

        torch.manual_seed(options.seed)  # the head's random start
        self.architecture = Architecture(
            options.backbone, len(self.classes), options.hidden_layers, options.dropout
        )
        network = self._starting_network()
        if options.freeze_backbone:
            freeze_backbone(network)
        freeze_groups(network, options.frozen_groups)
        self.parameters = sum(item.numel() for item in network.parameters())
        self.trainable = sum(item.numel() for item in network.parameters() if item.requires_grad)
        self.transform = data_transform(network, options.image_size)
        self.photos = training_photos(options, self.classes, self.transform)
        self.valid = valid_photos(options, self.transform)

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
        )
        self.train_loader, self.valid_loader = self.accelerator.prepare(
            train_loader, photo_loader(self.valid, options)
        )

    def _starting_network(self) -> nn.Module:
        options = self.options
        if options.start is None:
            return build_network(
                self.architecture, pretrained=not options.from_scratch, weights=options.weights
            )
        network, metadata = load_checkpoint(options.start)
        if (metadata.architecture, metadata.classes) != (self.architecture, self.classes):
            raise TrainingError(
                f"{options.start} has another architecture, or other classes, than this training; "
                "--weights takes the backbone alone."
            )
        return network

    def train(self, interrupt: Interrupt) -> Path:
        main = self.accelerator.is_main_process
        if main:
            _write_arguments(self.folder, self.options)
            self._introduce()
        while self.progress.epoch < self.options.epochs:
            self._train_epoch(interrupt)
            self._finish_epoch()
            save_state(self.accelerator, self.folder, self.progress)
            if interrupt.requested and self.progress.epoch < self.options.epochs:
                raise Interrupted(self.folder)
        checkpoint = self.folder / CHECKPOINT_FILE
        if main:
            remove_state(self.folder)
            best = max(row["valid_accuracy"] for row in self.progress.history)
            self.accelerator.print(f"Best top-1 on valid {best:.2%}; wrote {checkpoint}")
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
        # Where the last step of the epoch is already done, no photo is left to load.
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
                stop = self._agreed(interrupt.requested)
                if stop or self._agreed(due):
                    save_state(self.accelerator, self.folder, progress)
                    stored = time.monotonic()
                if stop:
                    raise Interrupted(self.folder)

    def _finish_epoch(self) -> None:
        progress, began = self.progress, time.monotonic()
        logits, targets = self.engine.logits(self.valid_loader)
        measures = measure(logits, targets, self.class_ids)
        progress.seconds += time.monotonic() - began
        row = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss_sum / progress.step,
            "train_accuracy": progress.correct / (progress.step * self.batch_size),
            "valid_loss": measures.loss,
            "valid_accuracy": measures.top1,
            "learning_rate": learning_rate(self.engine.optimizer),
            "seconds": progress.seconds,
        }
        # Of two epochs with as many right answers, the one that was surer of them.
        best = all(_rank(row) > _rank(earlier) for earlier in progress.history)
        progress.history.append(row)
        progress.epoch, progress.step, progress.loss_sum, progress.correct = (
            progress.epoch + 1, 0, 0.0, 0,
        )  # fmt: skip
        if self.accelerator.is_main_process:
            if best:
                self._save_checkpoint(logits, targets)
            report.write_history(self.folder / "history.csv", progress.history)
            report.write_events(self.folder / "tensorboard", row)
            report.draw_curves(self.folder / "curves.png", progress.history)
            self.accelerator.print(report.epoch_line(row, self.options.epochs, best))

    def _save_checkpoint(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        calibration = calibrate(logits, targets, self.classes)
        metadata = Metadata(
            architecture=self.architecture,
            classes=self.classes,
            transform=self.transform,
            temperature=calibration.temperature,
            ood_rule=calibration.ood_rule,
            training={
                **self.options.describe(),
                "best_epoch": self.progress.epoch,
                "train_photos": len(self.photos),
            },
            metrics={"valid": calibration.measures.summary()},
            versions=versions(),
            revision=self.revision,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        save_checkpoint(
            self.folder / CHECKPOINT_FILE,
            self.engine.kept_network.state_dict(),
            metadata,
            half_precision=self.options.half_precision_checkpoint,
        )

    def _introduce(self) -> None:
        say: Callable[[str], None] = self.accelerator.print
        device = self.accelerator.device
        if device.type == "cpu":
            say("No CUDA device is used: training on the CPU, which takes many times as long.")
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        outliers = sum(target == OUTLIER for _, target in self.photos.samples)
        say(
            f"{len(self.photos) - outliers} train and {len(self.valid)} valid photos "
            f"of {len(self.classes)} classes in {self.options.data}"
            f"{f', {outliers} photos of none' if outliers else ''}"
        )
        say(
            f"{self.options.backbone}: {self.parameters / 1e6:.1f} M parameters, "
            f"{self.trainable / 1e6:.1f} M to train, "
            f"{self.options.train_size or self.transform.crop} px in training, "
            f"{self.transform.crop} px in validation"
        )
        say(
            f"{name} × {self.accelerator.num_processes}, precision "
            f"{self.accelerator.mixed_precision}, {self.steps_per_epoch} steps of "
            f"{self.batch_size} photos an epoch, {self.options.epochs} epochs"
        )
        chosen = combined_seed(self.options.seed) % (len(self.photos) - outliers)
        path, target = self.photos.samples[chosen]
        item = self.classes[target]
        say(f'For example {path}: folder {item.class_id}, index {target}, "{item.name}"')
        if self.progress.epoch or self.progress.step:
            say(f"Going on in epoch {self.progress.epoch + 1} after step {self.progress.step}")
        else:
            report.draw_samples(
                self.folder / "samples.png",
                self.photos,
                self.classes,
                self.transform,
                self.options.seed,
            )

    def _agreed(self, flag: bool) -> bool:
        """Whether the flag is set in any process; they must all take the same way."""
        if self.accelerator.num_processes == 1:
            return flag
        flags = torch.tensor([int(flag)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flags, reduction="sum").item())


def _rank(row: Mapping[str, float]) -> tuple[float, float]:
    return row["valid_accuracy"], -row["valid_loss"]


def _accelerator(options: TrainingConfig) -> Accelerator:
    precision = options.precision
    if precision == "auto":
        on_gpu = options.device == "auto" and torch.cuda.is_available()
        quick = torch.cuda.is_bf16_supported() if on_gpu else _cpu_has_bf16()
        precision = "bf16" if quick else "no"
    try:
        return Accelerator(
            cpu=options.device == "cpu",
            mixed_precision=precision,
            # A step sees the same photos, however many processes share them.
            dataloader_config=DataLoaderConfiguration(split_batches=True),
        )
    except ValueError as error:
        raise TrainingError(f"--precision {precision} cannot be had here: {error}") from error


def _cpu_has_bf16() -> bool:
    # Others have to emulate it, many times as slowly as float32.
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _new_folder(options: TrainingConfig) -> Path:
    return Path("runs") / f"{options.backbone}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _write_arguments(folder: Path, options: TrainingConfig) -> None:
    text = json.dumps(options.to_dict(), indent=2) + "\n"
    with atomic_write(folder / _ARGUMENTS_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
