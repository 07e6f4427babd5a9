"""Interruption and resumption of runs.

Accelerate writes and reads the state: progress, network, optimizer, schedule and weight average. A
state folder gets its final name only once complete, and its predecessor is removed only then, so a
kill at any moment leaves a state to resume from. Random generators need no state, because every
draw is seeded by (seed, epoch, step or photo).
"""

from __future__ import annotations

import shutil
import signal
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Any, Final

from accelerate import Accelerator

from model.errors import PetalscopeError

_PREFIX: Final = "state-"
_UNFINISHED: Final = "unfinished-state"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class ResumeError(PetalscopeError):
    """A run folder that cannot be resumed."""


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        epoch: Completed epochs.
        step: Completed steps of the current epoch.
        loss_sum: Sum of the mean losses of these steps.
        correct: Correctly classified photos in these steps, over all processes.
        with_class: Photos in these steps that are not OOD photos, over all processes.
        seconds: Training and validation time over all sessions.
        history: One row per completed epoch.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    with_class: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def start_epoch(self, epoch: int) -> None:
        """Set the number of completed epochs, and no step of the next."""
        self.epoch, self.step = epoch, 0
        self.loss_sum, self.correct, self.with_class = 0.0, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the progress as plain values, for Accelerate to store."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the values of `state_dict`."""
        for item in fields(self):
            setattr(self, item.name, state[item.name])


def save_state(accelerator: Accelerator, folder: Path, progress: Progress) -> None:
    """Save everything registered with the accelerator, including `progress`.

    Raises:
        OSError: The folder is not writable or the disk is full; the last state stays.
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
    """Return True if the folder holds an incomplete run."""
    return bool(_states(folder))


def remove_state(folder: Path) -> None:
    """Remove the states of a completed run."""
    for old in [*_states(folder), folder / _UNFINISHED]:
        shutil.rmtree(old, ignore_errors=True)


def load_state(accelerator: Accelerator, folder: Path) -> None:
    """Restore everything registered with the accelerator from the last complete state.

    A run that ended before its first state starts from the beginning.

    Raises:
        ResumeError: The state is damaged or belongs to other options.
    """
    states = _states(folder)
    if not states:
        return
    try:
        accelerator.load_state(str(states[-1]))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ResumeError(
            f"{states[-1]} is damaged, or another version of Petalscope saved it. Resume with that "
            "version, or start a new run."
        ) from error


def _states(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir())


class Interrupt:
    """Handler of SIGINT and SIGTERM that defers the first signal to the end of a step.

    A later signal has its default effect.

    Args:
        grace: Seconds after the first signal in which others are ignored: launchers such as
            torchrun repeat the Ctrl-C that the terminal has already sent to their processes.

    Attributes:
        requested: True once a signal arrived.
    """

    def __init__(self, grace: float = 2.0) -> None:
        self.requested = False
        self._grace = grace
        self._ignore_until = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            self._ignore_until = time.monotonic() + self._grace
        elif time.monotonic() >= self._ignore_until:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
