"""The stored list of a job's photos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.bulk.photo_list import PHOTO_LIST_FILE, JobMismatchError, open_photo_list
from model.bulk.sources import SourceError, open_source
from model.bulk.storage import Location, StorageError
from model.file_budget import Reserve, no_limit


class Listed:
    """A source of given names."""

    def __init__(self, *names: str) -> None:
        self.url = "/photos"
        self._names = names

    def names(self) -> Iterator[str]:
        yield from self._names

    def read(self, name: str, reserve: Reserve = no_limit) -> bytes:
        raise NotImplementedError


def test_the_list_is_split_into_parts(folder: Location) -> None:
    names = [f"{number}.jpg" for number in range(7)]
    photos = open_photo_list(folder, Listed(*names), "v1", 3)
    assert (photos.photo_count, photos.part_count, photos.part_size) == (7, 3, 3)
    assert [photos.photos(part) for part in range(3)] == [names[:3], names[3:6], names[6:]]
    assert [photos.size(part) for part in range(3)] == [3, 3, 1]


def test_a_later_process_uses_the_stored_list(folder: Location) -> None:
    open_photo_list(folder, Listed("a.jpg", "b.jpg"), "v1", 1)
    photos = open_photo_list(folder, Listed("a.jpg", "new.jpg", "b.jpg"), "v1")
    assert [photos.photos(part) for part in range(photos.part_count)] == [["a.jpg"], ["b.jpg"]]


def test_another_model_version_source_or_part_size_is_refused(folder: Location) -> None:
    open_photo_list(folder, Listed("a.jpg"), "v1", 10)
    other = Listed("a.jpg")
    other.url = "/other"
    for source, version, part_size in (
        (Listed("a.jpg"), "v2", None),
        (other, "v1", None),
        (Listed("a.jpg"), "v1", 20),
    ):
        with pytest.raises(JobMismatchError):
            open_photo_list(folder, source, version, part_size)


def test_a_damaged_list_is_refused(folder: Location) -> None:
    (folder / PHOTO_LIST_FILE).write(b"no Parquet file")
    with pytest.raises(JobMismatchError):
        open_photo_list(folder, Listed("a.jpg"), "v1")


def test_results_without_their_list_are_refused(folder: Location) -> None:
    results = folder / "other"
    (results / "part-000000.parquet").write(b"of another model")
    with pytest.raises(JobMismatchError):
        open_photo_list(results, Listed("a.jpg"), "v1")
    assert results.names() == ["part-000000.parquet"]


def test_an_output_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"x")
    with pytest.raises(StorageError):
        open_photo_list(Location.parse(str(tmp_path / "out")), Listed("a.jpg"), "v1")


def test_a_source_without_photos_leaves_no_list(folder: Location) -> None:
    with pytest.raises(SourceError):
        open_photo_list(folder, Listed(), "v1")
    assert folder.names() == []


def test_names_that_are_not_utf_8_are_kept(folder: Location) -> None:
    name = os.fsdecode(b"\xff\n.jpg")
    source = Listed(name)
    source.url = os.fsdecode(b"/photos\xff")
    for _ in range(2):
        assert open_photo_list(folder, source, "v1").photos(0) == [name]


def test_a_folder_lists_only_photos(folder: Location) -> None:
    for name in ("b.PNG", "a/1.jpg", "notes.md"):
        (folder / name).write(b"x")
    source = open_source(folder.url)
    assert list(source.names()) == ["a/1.jpg", "b.PNG"]
    assert source.read("a/1.jpg") == b"x"


def test_a_manifest_lists_paths_relative_to_it_and_urls(folder: Location, tmp_path: Path) -> None:
    (folder / "a b/1.jpg").write(b"relative")
    (tmp_path / "2.jpg").write_bytes(b"absolute")
    lines = ["a b/1.jpg", "", str(tmp_path / "2.jpg"), f"{folder.url}/a b/1.jpg"]
    (folder / "list.txt").write("\r\n".join(lines).encode())
    source = open_source(f"{folder.url}/list.txt")
    names = list(source.names())
    assert names == [line for line in lines if line]
    assert [source.read(name) for name in names] == [b"relative", b"absolute", b"relative"]


def test_a_bad_line_of_a_manifest_is_an_unreadable_photo(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("nowhere://a.jpg\n")
    source = open_source(str(tmp_path / "list.txt"))
    (name,) = source.names()
    with pytest.raises(OSError, match="nowhere"):
        source.read(name)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.txt"])
def test_a_missing_source_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError):
        list(open_source(str(tmp_path / name)).names())
