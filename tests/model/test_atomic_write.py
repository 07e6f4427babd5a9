"""Atomic file replacement."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from model.atomic_write import atomic_write
from tests.conftest import ROOT


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_created(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "1" / "weights.bin"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_the_temporary_file_is_on_the_same_file_system(tmp_path: Path) -> None:
    # A rename is atomic only within one file system.
    with atomic_write(tmp_path / "weights.bin") as temporary:
        assert temporary.parent == tmp_path


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("bug"), KeyboardInterrupt()])
def test_a_failure_leaves_only_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")

    def fail_half_way(temporary: Path) -> None:
        temporary.write_bytes(b"ne")
        raise error

    with pytest.raises(type(error)), atomic_write(path) as temporary:
        fail_half_way(temporary)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_without_an_old_file_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "weights.bin"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_kill_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    program = (
        "import os, pathlib, signal, sys\n"
        "from model.atomic_write import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'ne')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False, cwd=ROOT)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"


def test_a_writer_may_put_a_new_file_at_the_temporary_path(tmp_path: Path) -> None:
    # Some libraries write another file and rename it.
    path, other = tmp_path / "weights.bin", tmp_path / "other"
    with atomic_write(path) as temporary:
        other.write_bytes(b"renamed")
        other.replace(temporary)
    assert path.read_bytes() == b"renamed"
    assert list(tmp_path.iterdir()) == [path]


def test_other_users_may_read_the_file(tmp_path: Path) -> None:
    # Temporary files are private by default, but the service runs as another user.
    path = tmp_path / "weights.bin"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_file_in_place_of_a_folder_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"")
    with (
        pytest.raises((FileExistsError, NotADirectoryError)),
        atomic_write(tmp_path / "runs" / "weights.bin"),
    ):
        pass


def test_a_folder_in_place_of_the_file_is_an_os_error_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.mkdir()
    with pytest.raises(IsADirectoryError), atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
    assert list(tmp_path.iterdir()) == [path]
