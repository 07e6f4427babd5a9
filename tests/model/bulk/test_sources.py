"""Lists of photos whose lines may be bad."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.bulk.sources import SourceError, UnreachableHostError, open_source
from model.bulk.storage import StorageError
from model.regular_file import NotRegularFileError
from tests.file_server import FileServer, running_file_server


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    with running_file_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.bulk.storage.time.sleep", lambda _: None)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "list.txt"
    path.write_text("a.jpg")
    return path


@pytest.mark.parametrize("line", ["pipe.jpg", "{folder}/pipe.jpg", "file://{folder}/pipe.jpg"])
def test_a_pipe_is_no_photo(manifest: Path, line: str) -> None:
    os.mkfifo(manifest.parent / "pipe.jpg")
    with pytest.raises(NotRegularFileError):
        open_source(str(manifest)).read(line.format(folder=manifest.parent))


def test_a_device_is_no_photo(manifest: Path) -> None:
    with pytest.raises(NotRegularFileError):
        open_source(str(manifest)).read("/dev/zero")


def test_a_pipe_is_no_list(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(SourceError):
        list(open_source(str(tmp_path / "list.txt")).names())


@pytest.mark.parametrize("line", ["nowhere://a/b.jpg", "github://a/b.jpg"])
def test_an_unusable_file_system_belongs_to_one_line(manifest: Path, line: str) -> None:
    with pytest.raises(OSError, match=line) as failure:
        open_source(str(manifest)).read(line)
    assert failure.value.errno == errno.EPROTONOSUPPORT


def test_a_host_that_never_answered_belongs_to_its_lines(
    manifest: Path, file_server: FileServer
) -> None:
    with running_file_server() as server:
        dead = server.url("/b.jpg")
    file_server.files["/a.jpg"] = b"photo"
    source = open_source(str(manifest))
    assert source.read(file_server.url("/a.jpg")) == b"photo"
    with pytest.raises(UnreachableHostError):
        source.read(dead)


def test_an_outage_of_a_host_that_answered_is_a_storage_error(manifest: Path) -> None:
    source = open_source(str(manifest))
    with running_file_server() as server:
        url = server.url("/a.jpg")
        with pytest.raises(FileNotFoundError):
            source.read(url)
    with pytest.raises(StorageError):
        source.read(url)
