"""Shards of a bulk job: results, resumption, and processes that work at the same time."""

from __future__ import annotations

import errno
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from model.bulk.job import Progress, Shard, classify_shard
from model.bulk.photo_list import open_photo_list
from model.bulk.sources import Source, open_source
from model.bulk.storage import Location, StorageError
from model.classifier import Classifier
from model.file_budget import Reserve, no_limit
from model.prediction.stream import Classified, Photo, classify
from tests.conftest import flower_image
from tests.file_server import running_file_server

PHOTOS = 11
PART_SIZE = 3


@pytest.fixture(scope="module")
def classifier(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint, "cpu")


@pytest.fixture
def photos(folder: Location) -> Location:
    """Write eleven photos in two folders; the third is damaged."""
    for index in range(PHOTOS):
        file = io.BytesIO()
        flower_image((120, 100), seed=index).save(file, "PNG")
        data = b"no photo" if index == 2 else file.getvalue()
        (folder / "photos" / f"{index % 2}/{index:02}.png").write(data)
    return folder / "photos"


def run(
    classifier: Classifier,
    photos: Location,
    output: Location,
    shard: Shard = Shard(0, 1),  # noqa: B008  # immutable
    *,
    source: Source | None = None,
    part_size: int = PART_SIZE,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    source = source or open_source(photos.url)
    listed = open_photo_list(output, source, classifier.version, part_size)
    return classify_shard(classifier, listed, source, output, shard, batch_size=2, report=report)


def rows(output: Location) -> list[dict[str, Any]]:
    found = []
    for name in sorted(output.names()):
        if not name.startswith("_"):
            found += pq.read_table(io.BytesIO((output / name).read())).to_pylist()
    return found


def test_every_photo_has_a_row_that_equals_a_single_classification(
    classifier: Classifier, photos: Location, folder: Location
) -> None:
    end = run(classifier, photos, folder / "out")
    assert (end.photos, end.done, end.unreadable, end.skipped) == (PHOTOS, PHOTOS, 1, 0)
    source = open_source(photos.url)
    found = rows(folder / "out")
    assert [row["path"] for row in found] == list(source.names())
    for row in found:
        assert row["model_version"] == classifier.version
        (single,) = classify(classifier, [Photo("", source.read(row["path"]))], top_k=5)
        if not isinstance(single, Classified):
            assert row["path"] == "0/02.png"
            assert row["error"]
            assert row["class_ids"] is row["verdict"] is None
            continue
        expected = single.result
        assert row["error"] is None
        assert row["class_ids"] == [item.class_id for item in expected.predictions]
        assert row["names"] == [item.name for item in expected.predictions]
        assert row["probabilities"] == pytest.approx(
            [item.probability for item in expected.predictions], abs=1e-5
        )
        assert row["verdict"] == expected.verdict


def test_shards_share_the_photos_and_may_change_their_number(
    classifier: Classifier, photos: Location, folder: Location
) -> None:
    output = folder / "out"
    assert run(classifier, photos, output, Shard(1, 3)).done == PART_SIZE
    assert run(classifier, photos, output, Shard(0, 2)).done == 2 * PART_SIZE
    end = run(classifier, photos, output, Shard(1, 2))
    assert (end.skipped, end.done) == (PART_SIZE, PHOTOS - 3 * PART_SIZE)
    assert len(rows(output)) == PHOTOS


def test_a_shard_without_parts_is_complete(
    classifier: Classifier, photos: Location, folder: Location
) -> None:
    assert run(classifier, photos, folder / "out", Shard(7, 8)).photos == 0


def test_a_lost_mount_does_not_become_a_part_of_errors(
    classifier: Classifier, tmp_path: Path
) -> None:
    names = [f"{index}.jpg" for index in range(12)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    source, output = open_source(str(tmp_path / "list.txt")), Location.parse(str(tmp_path / "out"))
    with pytest.raises(StorageError):
        run(classifier, output, output, source=source, part_size=12)
    assert output.names() == ["_photos.parquet"]
    # One file that is there is enough.
    (tmp_path / names[5]).write_bytes(b"no photo")
    assert run(classifier, output, output, source=source, part_size=12).unreadable == 12


def test_a_mount_that_is_lost_within_a_part_does_not_become_errors(
    classifier: Classifier, tmp_path: Path
) -> None:
    names = [f"{index:02}.png" for index in range(2 * PART_SIZE)]
    for index, name in enumerate(names):
        flower_image((60, 60), seed=index).save(tmp_path / name)
    (tmp_path / "list.txt").write_text("\n".join(names))
    source, output = open_source(str(tmp_path / "list.txt")), Location.parse(str(tmp_path / "out"))

    was_read: set[str] = set()

    class Unmounted:
        url = source.url

        def names(self) -> Iterator[str]:
            return source.names()

        def read(self, name: str, reserve: Reserve = no_limit) -> bytes:
            if name in was_read or name > names[PART_SIZE]:
                raise FileNotFoundError(errno.ENOENT, "No such file", name)
            was_read.add(name)
            return source.read(name, reserve)

    with pytest.raises(StorageError):
        run(classifier, output, output, source=Unmounted(), part_size=PART_SIZE)
    assert sorted(output.names()) == ["_photos.parquet", "part-000000.parquet"]


def test_bad_lines_are_rows_and_the_job_ends(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.bulk.storage.time.sleep", lambda _: None)
    flower_image((120, 100)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    with running_file_server() as server:
        dead = server.url("/b.jpg")
    bad = ["a\0b.jpg", "x" * 300, "pipe.png", "http://[::1/a.jpg", dead]
    (tmp_path / "list.txt").write_text("\n".join([*bad[:3], "a.png", *bad[3:], dead]))
    source, output = open_source(str(tmp_path / "list.txt")), Location.parse(str(tmp_path / "out"))
    assert run(classifier, output, output, source=source, part_size=6).unreadable == 6
    found = rows(output)
    assert len(found) == 7  # the last part has only the dead host
    assert [row["path"] for row in found if not row["error"]] == ["a.png"]


def test_a_list_of_one_dead_host_ends_the_process(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.bulk.storage.time.sleep", lambda _: None)
    with running_file_server() as server:
        (tmp_path / "list.txt").write_text(server.url("/a.jpg"))
    source, output = open_source(str(tmp_path / "list.txt")), Location.parse(str(tmp_path / "out"))
    with pytest.raises(StorageError):
        run(classifier, output, output, source=source)
    assert output.names() == ["_photos.parquet"]


class Failing:
    """A source that fails from the seventh photo on."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.url = source.url
        self.names = source.names
        self.broken = True

    def read(self, name: str, reserve: Reserve = no_limit) -> bytes:
        if self.broken and list(self.names()).index(name) >= 6:
            raise StorageError("The network is down.")
        return self._source.read(name, reserve)


def test_a_lost_storage_ends_the_process_and_complete_parts_stay(
    classifier: Classifier, photos: Location, folder: Location
) -> None:
    source, output = Failing(open_source(photos.url)), folder / "out"
    with pytest.raises(StorageError):
        run(classifier, photos, output, source=source)
    before = rows(output)
    assert len(before) in (PART_SIZE, 2 * PART_SIZE)
    source.broken = False
    end = run(classifier, photos, output, source=source)
    assert (end.skipped, end.done) == (len(before), PHOTOS - len(before))
    assert rows(output)[: len(before)] == before
    assert len(rows(output)) == PHOTOS


def test_processes_on_the_same_shard_do_no_harm(
    classifier: Classifier, photos: Location, folder: Location
) -> None:
    output = folder / "out"
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(run, classifier, photos, output) for _ in range(2)]
        assert all(end.result().photos == PHOTOS for end in ends)
    counted = Counter(row["path"] for row in rows(output))
    assert len(counted) == PHOTOS
    assert set(counted.values()) == {1}


def test_progress_is_reported_after_each_part(
    classifier: Classifier, photos: Location, folder: Location
) -> None:
    reports: list[Progress] = []
    run(classifier, photos, folder / "out", report=reports.append)
    assert [report.done for report in reports] == [3, 6, 9, 11]
    assert all(report.rate > 0 for report in reports)
    assert reports[0].seconds_left > 0
    assert reports[-1].seconds_left == 0
