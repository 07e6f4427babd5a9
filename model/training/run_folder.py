"""Files of a run folder: its options, and its checkpoint with the provenance.

`model.training.resume` stores the state of an incomplete run in the same folder, and
`model.training.run_report` the reports.
"""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from torch import nn

import model
from model.atomic_write import atomic_write
from model.checkpoint.format import save_checkpoint
from model.checkpoint.metadata import Metadata
from model.training.calibration import Calibration
from model.training.config import ConfigError, TrainingConfig
from model.training.data_folders import labelled_folder
from model.training.engine import TrainingError
from model.training.resume import ResumeError, has_state

CHECKPOINT_FILE: Final = "checkpoint.safetensors"
HISTORY_FILE: Final = "history.csv"
_OPTIONS_FILE: Final = "arguments.json"
_LIBRARIES: Final = ("torch", "torchvision", "timm", "accelerate", "safetensors", "pillow", "numpy")


def new_run_folder(options: TrainingConfig) -> Path:
    """Return the default path of a new run, runs/BACKBONE-TIME, in UTC. It is not created."""
    return Path("runs") / f"{options.backbone}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def run_status(folder: Path) -> Literal["new", "other", "incomplete", "complete"]:
    """Return what a run folder holds.

    "new" is a missing folder or one without visible files, and "other" holds files of no run. An
    incomplete run may have ended before its first state.
    """
    if has_state(folder):
        return "incomplete"
    if not (folder / _OPTIONS_FILE).exists():
        used = folder.exists() and any(path.name[0] != "." for path in folder.iterdir())
        return "other" if used else "new"
    try:
        lines = (folder / HISTORY_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return "incomplete"
    return "complete" if len(lines) > read_config(folder).epochs else "incomplete"


def usable_folder(options: TrainingConfig, *, resume: bool) -> Path:
    """Return the folder of a new or resumed run.

    Raises:
        TrainingError: A new run would overwrite files.
        ResumeError: The run to resume is complete.
    """
    folder = options.output or new_run_folder(options)
    status = run_status(folder)
    if status == "complete":
        further = (
            "To train it further, start a run with the same network, another --output and "
            f"--initial-checkpoint {shlex.quote(str(folder / CHECKPOINT_FILE))}."
        )
        if resume:
            raise ResumeError(f"The run in {folder} is complete. {further}")
        raise TrainingError(f"{folder} holds a complete run. Choose another --output. {further}")
    if resume or status == "new":
        return folder
    if status == "incomplete":
        raise TrainingError(
            f"{folder} holds an incomplete run. Continue it with --resume "
            f"{shlex.quote(str(folder))} alone, or choose another --output."
        )
    raise TrainingError(f"{folder} holds other files. Choose another --output.")


def run_data(checkpoint: Path) -> Path | None:
    """Return the data folder of the run that a checkpoint lies in; None if there is none now.

    It is the folder of the run's own split, if there is one.
    """
    try:
        options = read_config(checkpoint.parent)
    except ResumeError:
        return None
    data = labelled_folder(options, Path("valid")).parent
    return data if data.is_dir() else None


def write_config(folder: Path, options: TrainingConfig) -> None:
    """Write the options of a run into its folder.

    Raises:
        OSError: The folder is not writable or the disk is full.
    """
    values = options.to_dict()
    for name, value in vars(options).items():
        # `read_config` may run in another working directory, and sets the output itself.
        if isinstance(value, Path) and name != "output":
            values[name] = str(value.absolute())
    text = json.dumps(values, indent=2) + "\n"
    with atomic_write(folder / _OPTIONS_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_config(folder: Path) -> TrainingConfig:
    """Read the options of a run from its folder, which becomes their output.

    Raises:
        ResumeError: The folder is missing, or its options are unreadable.
    """
    path = folder / _OPTIONS_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return replace(TrainingConfig.from_dict(values), output=folder)
    except FileNotFoundError:
        raise ResumeError(f"{folder} is not a run folder: it has no {_OPTIONS_FILE}.") from None
    except ConfigError as error:
        raise ResumeError(f"{path}: {error} Another version of Petalscope wrote it.") from error
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ResumeError(f"{path} is unreadable: {error}.") from error


def save_run_checkpoint(
    folder: Path,
    network: nn.Module,
    metadata: Metadata,
    calibration: Calibration,
    *,
    epoch: int,
    half_precision: bool,
) -> None:
    """Save the network as the run's checkpoint, replacing that of an earlier epoch.

    Args:
        folder: The run folder.
        network: The network after this epoch.
        metadata: Metadata that all epochs of the run share.
        calibration: Temperature, OOD rule and metrics of this epoch.
        epoch: Number of the epoch, from 1.
        half_precision: True stores floating-point weights as float16.

    Raises:
        OSError: The folder is not writable or the disk is full.
    """
    save_checkpoint(
        folder / CHECKPOINT_FILE,
        network.state_dict(),
        replace(
            metadata,
            temperature=calibration.temperature,
            ood_rule=calibration.ood_rule,
            training={**metadata.training, "kept_epoch": epoch},
            metrics={"valid": calibration.metrics["valid"].summary()},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        half_precision=half_precision,
    )


def library_versions() -> dict[str, str]:
    """Return the versions of Petalscope, Python and the libraries that influence the result."""
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"petalscope": model.__version__, "python": platform.python_version(), **libraries}


def git_revision() -> str:
    """Return the Git revision of the code, with "-dirty" for local changes; "" if unknown."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(  # noqa: S603  # a fixed command
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return result.stdout.strip()
