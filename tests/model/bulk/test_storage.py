"""File access on the local disk and on an object store."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from s3fs import S3FileSystem

from model.bulk.storage import Location, StorageError, UnknownFileSystemError
from model.regular_file import MAX_BYTES, NotRegularFileError
from tests.file_server import FileServer, running_file_server
from tests.object_store import BUCKET


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    with running_file_server() as server:
        yield server


def test_a_written_file_can_be_read_and_replaced(folder: Location) -> None:
    file = folder / "a.bin"
    file.write(b"first")
    file.write(b"second")
    assert file.read() == b"second"
    assert folder.names() == ["a.bin"]


def test_the_first_of_many_creators_wins(folder: Location) -> None:
    file = folder / "list"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: file.create(b"%d" % number), range(8)))
    winner = file.read()
    file.create(b"late")
    assert file.read() == winner
    assert folder.names() == ["list"]


def test_without_hard_links_an_existing_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    file = Location.parse(str(tmp_path / "list"))
    file.create(b"first")
    file.create(b"late")
    assert file.read() == b"first"


def test_a_lost_response_does_not_lose_the_race(
    monkeypatch: pytest.MonkeyPatch, object_store: None
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("model.bulk.storage.time.sleep", waits.append)
    store = S3FileSystem(use_listings_cache=False)  # the instance of all locations
    pipe_file = store.pipe_file
    failures = iter([TimeoutError(), ConnectionError()])

    def fail_first(*args: Any, **options: Any) -> None:
        failure = next(failures, None)
        if isinstance(failure, TimeoutError):
            raise failure
        pipe_file(*args, **options)
        if failure is not None:
            raise failure

    monkeypatch.setattr(store, "pipe_file", fail_first)
    file = Location.parse(f"s3://{BUCKET}/lost/list")
    file.create(b"first")
    assert file.read() == b"first"
    assert len(waits) == 1


def test_a_missing_folder_has_no_names(folder: Location) -> None:
    assert (folder / "nowhere").names() == []


def test_a_missing_file_is_reported_at_once(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.bulk.storage.time.sleep", pytest.fail)
    with pytest.raises(OSError, match="nowhere") as failure:
        (folder / "nowhere.jpg").read()
    assert failure.value.errno == errno.ENOENT
    assert failure.value.strerror


def test_files_are_listed_by_folder_without_hidden_ones(folder: Location) -> None:
    for name in ("b.png", "a/z.jpg", "a/2.jpg", "c/d/e.gif", ".cache/x.png", "a/._z.jpg"):
        (folder / name).write(b"x")
    assert list(folder.walk()) == ["a/2.jpg", "a/z.jpg", "b.png", "c/d/e.gif"]


def test_links_to_files_are_listed_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    assert list(Location.parse(str(tmp_path)).walk()) == ["a.jpg", "link.jpg"]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(Location.parse(str(tmp_path / "nowhere")).walk())


def test_names_that_are_not_utf_8_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    (tmp_path / name).write_bytes(b"x")
    here = Location.parse(str(tmp_path))
    assert list(here.walk()) == [name]
    assert (here / name).read() == b"x"


def test_a_file_on_a_web_server_is_read(file_server: FileServer) -> None:
    file_server.files["/a.jpg"] = b"photo"
    assert Location.parse(file_server.url("/a.jpg")).read() == b"photo"
    with pytest.raises(FileNotFoundError):
        Location.parse(file_server.url("/b.jpg")).read()


def test_the_listing_of_a_web_server_is_followed(file_server: FileServer) -> None:
    page = '<a href="../">..</a> <a href="{}">b</a> <a href="?C=N">Name</a>'
    file_server.files["/photos"] = page.format("sub/").encode()
    file_server.files["/photos/sub"] = page.format("b.jpg").encode()
    file_server.files["/photos/sub/b.jpg"] = b"photo"
    here = Location.parse(file_server.url("/photos/"))
    (name,) = [name for name in here.walk() if name.endswith(".jpg")]
    assert name == "sub/b.jpg"
    assert (here / name).read() == b"photo"


def test_a_lost_connection_is_tried_again(
    file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def repair(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            file_server.cut_after = None

    monkeypatch.setattr("model.bulk.storage.time.sleep", repair)
    file_server.files["/a.jpg"] = b"photo"
    file_server.cut_after = 2
    assert Location.parse(file_server.url("/a.jpg")).read() == b"photo"
    assert len(waits) == 2


@pytest.mark.parametrize(
    "url",
    [
        "/tmp/a\0b.jpg",
        f"/tmp/{'x' * 300}.jpg",
        "http://[::1/a.jpg",
        "http:///a.jpg",
        "http://127.0.0.1:99999/a.jpg",
        f"http://{'h' * 300}.example/a.jpg",
        "s3://no*bucket/a.jpg",
    ],
)
@pytest.mark.usefixtures("object_store")
def test_a_malformed_name_is_reported_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.bulk.storage.time.sleep", pytest.fail)
    with pytest.raises(OSError, match="Errno") as failure:
        Location.parse(url).read()
    assert failure.value.errno in (errno.EINVAL, errno.ENAMETOOLONG)
    assert failure.value.strerror


def test_a_name_that_is_too_long_is_reported_at_once(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.bulk.storage.time.sleep", pytest.fail)
    with pytest.raises(OSError, match="xxx"):
        (folder / ("x" * 2000)).read()


def test_a_file_name_may_hold_two_colons(tmp_path: Path, file_server: FileServer) -> None:
    (tmp_path / "a::b.jpg").write_bytes(b"local")
    file_server.files["/a::b.jpg"] = b"remote"
    assert Location.parse(str(tmp_path / "a::b.jpg")).read() == b"local"
    assert Location.parse(file_server.url("/a::b.jpg")).read() == b"remote"


def test_a_file_larger_than_any_photo_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.bulk.storage.time.sleep", pytest.fail)
    with (tmp_path / "disk.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(OSError, match=r"disk\.jpg") as failure:
        Location.parse(str(tmp_path / "disk.jpg")).read()
    assert failure.value.errno == errno.EFBIG


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    pipe = Location.parse(str(tmp_path / "pipe"))
    with pytest.raises(NotRegularFileError):
        pipe.read()
    with pytest.raises(NotRegularFileError):
        next(pipe.lines())


def test_a_server_that_stays_down_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.bulk.storage.time.sleep", lambda _: None)
    with running_file_server() as server:
        url = server.url("/a.jpg")
    with pytest.raises(StorageError):
        Location.parse(url).read()


def test_a_folder_that_is_not_writable_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    file = Location.parse(str(tmp_path / "file")) / "part"
    with pytest.raises(StorageError):
        file.write(b"x")
    with pytest.raises(StorageError):
        file.create(b"x")


@pytest.mark.parametrize(
    ("url", "writable"), [("/tmp/a", True), ("s3://b/a", True), ("http://localhost/a", False)]
)
def test_local_folders_and_object_stores_are_writable(url: str, writable: bool) -> None:
    assert Location.parse(url).is_writable is writable


def test_a_url_with_an_unknown_scheme_is_refused() -> None:
    for url in ("nowhere://a/b", "github://a/b", "zip://a/b"):
        with pytest.raises(UnknownFileSystemError):
            Location.parse(url)
