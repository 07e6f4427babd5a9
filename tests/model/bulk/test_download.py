"""Reads of remote files within a limit on memory."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator

import pytest

from model.bulk.storage import Location, StorageError
from tests.file_server import running_file_server
from tests.object_store import BUCKET

FIRST = 1000
LARGEST = 5000

Stored = Callable[[bytes], Location]


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.bulk.download.FIRST_BYTES", FIRST)
    monkeypatch.setattr("model.bulk.download.MAX_BYTES", LARGEST)
    monkeypatch.setattr("model.bulk.storage.time.sleep", lambda _: None)


@pytest.fixture(params=["s3", "http", "http without a length", "memory"])
def stored(request: pytest.FixtureRequest) -> Iterator[Stored]:
    """Return a function that stores a file, and returns where; in turn on each file system."""
    numbers = itertools.count()
    if request.param.startswith("http"):
        with running_file_server() as server:
            server.sends_length = request.param == "http"

            def serve(data: bytes) -> Location:
                path = f"/{next(numbers)}.jpg"
                server.files[path] = data
                return Location.parse(server.url(path))

            yield serve
        return
    if request.param == "s3":
        request.getfixturevalue("object_store")
    host = BUCKET if request.param == "s3" else "folder"

    def write(data: bytes) -> Location:
        file = Location.parse(f"{request.param}://{host}/download/{next(numbers)}.jpg")
        file.write(data)
        return file

    yield write


@pytest.mark.parametrize("size", [0, 1, FIRST - 1, FIRST, FIRST + 1, LARGEST])
def test_a_file_is_read_within_the_memory_that_it_reserves(stored: Stored, size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    reserved: list[int] = []
    assert stored(content).read(reserved.append) == content
    assert reserved[-1] == size
    # A transfer takes a file twice.
    assert min(reserved[:-1]) >= 2 * min(size, FIRST)
    assert max(reserved[:-1]) >= 2 * size


def test_a_file_larger_than_any_photo_is_not_read(stored: Stored) -> None:
    file = stored(bytes(LARGEST + 1))
    with pytest.raises(OSError, match="jpg") as failure:
        file.read()
    assert failure.value.errno == errno.EFBIG


def test_a_file_that_vanishes_is_missing(object_store: None) -> None:
    with pytest.raises(FileNotFoundError):
        Location.parse(f"s3://{BUCKET}/download/nowhere").read()


def test_a_server_that_ends_a_large_file_early_is_a_storage_error() -> None:
    with running_file_server() as server:
        server.files["/a.jpg"] = bytes(LARGEST)
        server.cut_after = FIRST + 1
        with pytest.raises(StorageError):
            Location.parse(server.url("/a.jpg")).read()
