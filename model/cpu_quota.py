"""CPU quota of the control groups that the process belongs to, as containers set it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/proc/self/cgroup")
_FILE_SYSTEM: Final = Path("/sys/fs/cgroup")
_V1_FOLDERS: Final = ("cpu,cpuacct", "cpu")


def quota_threads(groups: Path = _GROUPS, file_system: Path = _FILE_SYSTEM) -> int:
    """Return the number of threads that a CPU quota can keep busy.

    Args:
        groups: List of the control groups of the process.
        file_system: Mount point of the control groups.

    Returns:
        The quota in cores, rounded down, but at least 1; 0 if it does not limit the process.
    """
    cores = min(_quotas(groups, file_system), default=math.inf)
    return 0 if cores >= _available_cores() else max(1, math.floor(cores))


def usable_cores() -> int:
    """Return the number of cores that the process can keep busy, by its affinity and quota."""
    return quota_threads() or _available_cores()


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(groups: Path, file_system: Path) -> Iterator[float]:
    """Yield the quota, in cores, of each control group that has one."""
    with suppress(OSError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                for folder in _folders(file_system, path):
                    yield from _quota_v2(folder)
            elif "cpu" in controllers.split(","):
                for name in _V1_FOLDERS:
                    for folder in _folders(file_system / name, path):
                        yield from _quota_v1(folder)


def _folders(mount: Path, path: str) -> Iterator[Path]:
    """Yield the folders of a control group and of those above it.

    In a container, the mount may show the container's own group as its root, while the path is the
    host's: then only the root exists.
    """
    folder = mount / path.lstrip("/")
    yield from (folder, *(parent for parent in folder.parents if parent.is_relative_to(mount)))


def _quota_v2(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError, ZeroDivisionError):  # "max" is no number
        quota, period = (folder / "cpu.max").read_text().split()
        yield int(quota) / int(period)


def _quota_v1(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        if quota > 0:  # -1 is no limit
            yield quota / int((folder / "cpu.cfs_period_us").read_text())
