"""CPU quota and memory limit of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.control_groups import quota_threads, usable_cores, usable_memory


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


def write(folder: Path, groups: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Write the list of the groups and a file system of `files`; return both paths."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "groups").write_text(groups)
    return folder / "groups", folder / "cgroup"


def quota(folder: Path, groups: str, **files: str) -> int:
    """Return the threads for a file system of `files`; "__" in a name is "/"."""
    paths = {
        name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs"): text
        for name, text in files.items()
    }
    return quota_threads(*write(folder, groups, paths))


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("800000 100000\n", 0),
        ("max 100000\n", 0),
        ("broken\n", 0),
        ("1 0 0\n", 0),
    ],
)
def test_the_quota_of_version_2(tmp_path: Path, text: str, threads: int) -> None:
    assert quota(tmp_path, "0::/\n", cpu_max=text) == threads


def test_the_lowest_quota_above_a_group_counts(tmp_path: Path) -> None:
    files = {"a__cpu_max": "300000 100000", "a__b__cpu_max": "600000 100000"}
    assert quota(tmp_path, "0::/a/b\n", **files) == 3


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    assert quota(tmp_path, "0::/docker/1234\n", cpu_max="400000 100000") == 4


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("microseconds", "threads"), [("150000", 1), ("-1", 0)])
def test_the_quota_of_version_1(
    tmp_path: Path, folder: str, microseconds: str, threads: int
) -> None:
    groups = "4:memory:/x\n3:cpu,cpuacct:/x\n0::/\n"
    files = {
        f"{folder}__x__cpu_cfs_quota_us": microseconds,
        f"{folder}__x__cpu_cfs_period_us": "100000",
    }
    assert quota(tmp_path, groups, **files) == threads


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert quota_threads(tmp_path / "missing", tmp_path) == 0


def test_a_quota_below_the_affinity_limits_the_usable_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model.control_groups.quota_threads", lambda: 3)
    assert usable_cores() == 3
    monkeypatch.setattr("model.control_groups.quota_threads", lambda: 0)
    assert usable_cores() == 8


MIB = 1024 * 1024


@pytest.fixture
def _machine_of_eight_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2 * MIB}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)


@pytest.mark.usefixtures("_machine_of_eight_gib")
@pytest.mark.parametrize(
    ("groups", "files", "mib"),
    [
        ("0::/\n", {"memory.max": "536870912\n"}, 512),
        ("0::/a/b\n", {"a/memory.max": "536870912", "a/b/memory.max": "max"}, 512),
        ("0::/docker/1234\n", {"memory.max": "536870912\n"}, 512),
        ("0::/\n", {"memory.max": "max\n"}, 8192),
        ("0::/\n", {"memory.max": "broken\n"}, 8192),
        ("0::/\n", {}, 8192),
        (
            "5:memory:/x\n3:cpu:/y\n0::/\n",
            {"memory/x/memory.limit_in_bytes": "1073741824\n"},
            1024,
        ),
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8192),
    ],
)
def test_the_usable_memory_is_the_lowest_limit(
    tmp_path: Path, groups: str, files: dict[str, str], mib: int
) -> None:
    assert usable_memory(*write(tmp_path, groups, files)) == mib * MIB
