"""What a killed run needs to go on as if it had not been killed.

    progress, network, optimizer, schedule, average -> RUN/state-<epoch>-<step>/ -> the same again

Accelerate writes and reads the state. A state folder gets its name only when it is whole, and the
one before it is removed only then, so that a kill at any moment leaves one to go on from. Random
numbers need no state: all are drawn from (seed, epoch, step or photo).
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from accelerate import Accelerator

from model.errors import PetalscopeError

_PREFIX: Final = "state-"
_UNFINISHED: Final = "unfinished-state"


class ResumeError(PetalscopeError):
    """There is nothing to resume from, or it does not fit."""


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: Whole epochs behind it.
        step: Steps done of the epoch it is in.
        loss_sum: Sum of the mean losses of those steps.
        correct: Photos it got right in those steps, over all processes.
        seconds: Time spent training and validating, over all sessions.
        history: One row for each epoch behind it.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Return the progress as plain values, for Accelerate to store."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the values of `state_dict`."""
        for item in fields(self):
            setattr(self, item.name, state[item.name])


def save_state(accelerator: Accelerator, folder: Path, progress: Progress) -> None:
    """Store all that is registered with the accelerator, `progress` among it.

    Raises:
        OSError: The disk is full or the folder cannot be written; the last state stays.
    """
    unfinished = folder / _UNFINISHED
    new = folder / f"{_PREFIX}{progress.epoch:05d}-{progress.step:07d}"
    if new.exists():  # resumed, and interrupted again before the next step
        return
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(unfinished))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        unfinished.rename(new)
        for old in _states(folder)[:-1]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def has_state(folder: Path) -> bool:
    """Whether there is a run in the folder that is not complete."""
    return bool(_states(folder))


def remove_state(folder: Path) -> None:
    """Remove what a complete run no longer needs."""
    for old in [*_states(folder), folder / _UNFINISHED]:
        shutil.rmtree(old, ignore_errors=True)


def load_state(accelerator: Accelerator, folder: Path) -> None:
    """Restore all that is registered with the accelerator from the last whole state.

    Raises:
        ResumeError: There is none, or it is damaged or of other options.
    """
    states = _states(folder)
    if not states:
        raise ResumeError(
            f"{folder} holds no state to resume from; the run ended before its first was written, "
            "or it is complete and its state was removed. Start it anew."
        )
    try:
        accelerator.load_state(str(states[-1]))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ResumeError(
            f"{states[-1]} is damaged, or was written by another version of the program."
        ) from error


def _states(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir())
