"""Lists of photos whose lines may be bad."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
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


def test_a_host_that_fails_for_one_url_belongs_to_its_line(
    manifest: Path, file_server: FileServer
) -> None:
    file_server.files["/a.jpg"] = b"photo"
    file_server.failing.add("/broken.jpg")
    source = open_source(str(manifest))
    source.read(file_server.url("/a.jpg"))
    with pytest.raises(OSError, match=r"broken\.jpg"):
        source.read(file_server.url("/broken.jpg"))
    file_server.failing.add("/a.jpg")  # an outage
    with pytest.raises(StorageError):
        source.read(file_server.url("/broken.jpg"))


def test_a_host_that_cannot_be_reached_is_tried_once_for_each_further_line(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("model.bulk.storage.time.sleep", waits.append)
    with running_file_server() as server:
        dead = [server.url(f"/{index}.jpg") for index in range(3)]
    source = open_source(str(manifest))
    for url in dead:
        with pytest.raises(UnreachableHostError):
            source.read(url)
    assert len(waits) == 3  # of the first


def test_a_host_that_drops_packets_is_given_up_soon(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.bulk.storage.CONNECT_SECONDS", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with ExitStack() as clients:
            # Linux completes as many connections as the backlog has places, and drops the others.
            for _ in range(4):
                client = clients.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(address)
            with pytest.raises(UnreachableHostError):
                open_source(str(manifest)).read(f"http://127.0.0.1:{address[1]}/a.jpg")


@pytest.mark.parametrize("line", ["a.jpg", "\u30d0\u30e9 \U0001f339.jpg"])
def test_a_byte_order_mark_is_not_part_of_the_first_name(manifest: Path, line: str) -> None:
    manifest.write_text(f"{line}\r\n\ufeff.jpg\r\n", encoding="utf-8-sig")
    assert list(open_source(str(manifest)).names()) == [line, "\ufeff.jpg"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_refused(manifest: Path, encoding: str) -> None:
    manifest.write_bytes("\ufeffa.jpg\r\n".encode(encoding))
    with pytest.raises(SourceError, match="UTF-8"):
        list(open_source(str(manifest)).names())
