"""CPU quota and memory limit of the process, as containers set them by control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/proc/self/cgroup")
_FILE_SYSTEM: Final = Path("/sys/fs/cgroup")

_Read = Callable[[Path], Iterator[float]]
"""Yields the limit in the folder of a control group, or nothing."""


def quota_threads(groups: Path = _GROUPS, file_system: Path = _FILE_SYSTEM) -> int:
    """Return the number of threads that a CPU quota can keep busy.

    Args:
        groups: List of the control groups of the process.
        file_system: Mount point of the control groups.

    Returns:
        The quota in cores, rounded down, but at least 1; 0 if it does not limit the process.
    """
    quotas = _limits(groups, file_system, "cpu", ("cpu,cpuacct", "cpu"), _quota_v1, _quota_v2)
    cores = min(quotas, default=math.inf)
    return 0 if cores >= _available_cores() else max(1, math.floor(cores))


def usable_cores() -> int:
    """Return the number of cores that the process can keep busy, by its affinity and quota."""
    return quota_threads() or _available_cores()


def usable_memory(groups: Path = _GROUPS, file_system: Path = _FILE_SYSTEM) -> int:
    """Return the memory that the process may use, in bytes: the container's or the machine's.

    Args:
        groups: List of the control groups of the process.
        file_system: Mount point of the control groups.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = _limits(groups, file_system, "memory", ("memory",), _memory_v1, _memory_v2)
    return int(min((machine, *limits)))


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limits(
    groups: Path,
    file_system: Path,
    controller: str,
    v1_mounts: Sequence[str],
    read_v1: _Read,
    read_v2: _Read,
) -> Iterator[float]:
    """Yield the limit of each control group that has one."""
    with suppress(OSError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                for folder in _folders(file_system, path):
                    yield from read_v2(folder)
            elif controller in controllers.split(","):
                for name in v1_mounts:
                    for folder in _folders(file_system / name, path):
                        yield from read_v1(folder)


def _folders(mount: Path, path: str) -> Iterator[Path]:
    """Yield the folders of a control group and of those above it.

    In a container, the mount may show the container's own group as its root, while the path is the
    host's: then only the root exists.
    """
    folder = mount / path.lstrip("/")
    yield from (folder, *(parent for parent in folder.parents if parent.is_relative_to(mount)))


def _quota_v1(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        if quota > 0:  # -1 is no limit
            yield quota / int((folder / "cpu.cfs_period_us").read_text())


def _quota_v2(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError, ZeroDivisionError):  # "max" is no number
        quota, period = (folder / "cpu.max").read_text().split()
        yield int(quota) / int(period)


def _memory_v1(folder: Path) -> Iterator[float]:
    # Without a limit, the number is larger than any memory.
    with suppress(OSError, ValueError):
        yield int((folder / "memory.limit_in_bytes").read_text())


def _memory_v2(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):  # "max" is no number
        yield int((folder / "memory.max").read_text())
