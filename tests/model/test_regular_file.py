"""Reads of files that end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model.imaging.decode import decode_image
from model.regular_file import NotRegularFileError, read_regular_file
from tests.conftest import flower_image


@pytest.mark.parametrize("read", [read_regular_file, decode_image])
def test_pipes_and_devices_are_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(NotRegularFileError):
            read(path)


def test_links_to_files_are_read_and_folders_are_not(tmp_path: Path) -> None:
    flower_image((32, 32)).save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to("a.png")
    assert read_regular_file(tmp_path / "link.png") == (tmp_path / "a.png").read_bytes()
    with pytest.raises(IsADirectoryError):
        read_regular_file(tmp_path)
