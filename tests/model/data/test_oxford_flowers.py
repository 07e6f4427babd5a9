"""Download of the data set from the course and from Oxford."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from model.data import oxford_flowers
from model.data.archive import ArchiveError
from model.data.download import DownloadError
from model.data.oxford_flowers import (
    CATEGORY_NAMES,
    Source,
    download_data,
    find_damaged,
    find_problem,
    from_course,
    from_oxford,
)
from model.folder_lock import FolderInUseError, only_process_in
from tests.conftest import flower_image
from tests.file_server import FileServer, running_file_server

CLASS_IDS = ("1", "10", "2", "21")


def photo_bytes(seed: int = 0) -> bytes:
    file = io.BytesIO()
    flower_image((32, 24), seed).save(file, "JPEG")
    return file.getvalue()


def flower_zip(changes: dict[str, bytes | None] | None = None) -> bytes:
    """Return a small archive in the course's layout.

    Args:
        changes: Members to add or replace; None removes a member.
    """
    members: dict[str, bytes | None] = {
        f"flower_data/{split}/{class_id}/image_{number:05}.jpg": photo_bytes(number)
        for split, count in (("train", 3), ("valid", 1))
        for class_id in CLASS_IDS
        for number in range(count)
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (members | (changes or {})).items():
            if content is not None:
                archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_file_server() as server:
        server.files["/flower_data.zip"] = flower_zip()
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data" / "oxford102"


def download(data: Path, source: Source, classes: int = len(CLASS_IDS)) -> list[str]:
    """Download, and return the reported lines."""
    reported: list[str] = []
    download_data(data, source, report=reported.append, classes=classes)
    return reported


def photo_counts(reported: list[str], data: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", reported[-1].removeprefix(str(data)))]


def course(server: FileServer, sha256: str | None = None) -> Source:
    return functools.partial(from_course, url=server.url(), sha256=sha256)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_the_course_zip_becomes_class_folders_with_names(server: FileServer, data: Path) -> None:
    reported = download(data, course(server))
    assert sorted(p.name for p in data.iterdir()) == ["cat_to_name.json", "train", "valid"]
    assert sorted(p.name for p in (data / "train").iterdir()) == list(CLASS_IDS)
    assert (data / "train/21/image_00002.jpg").read_bytes() == photo_bytes(2)
    assert json.loads((data / "cat_to_name.json").read_text())["21"] == "fire lily"
    assert photo_counts(reported, data) == [12, 4]


def test_no_temporary_file_is_left(server: FileServer, data: Path) -> None:
    download(data, course(server))
    assert [p.name for p in data.parent.iterdir()] == ["oxford102"]


def test_a_test_split_is_optional(server: FileServer, data: Path) -> None:
    server.files["/flower_data.zip"] = flower_zip({"flower_data/test/21/a.jpg": photo_bytes()})
    download(data, course(server))
    assert files(data / "test") == ["21/a.jpg"]


def test_the_bundled_names_cover_all_102_classes() -> None:
    names = json.loads(CATEGORY_NAMES.read_text())
    assert sorted(names, key=int) == [str(number) for number in range(1, 103)]
    assert (names["1"], names["21"], names["102"]) == (
        "pink primrose",
        "fire lily",
        "blackberry lily",
    )


def test_a_second_run_requests_and_changes_nothing(server: FileServer, data: Path) -> None:
    download(data, course(server))
    before = data.stat()
    server.requests.clear()
    (line,) = download(data, course(server))
    assert str(data) in line
    assert server.requests == []
    assert data.stat() == before


def test_a_link_to_an_empty_folder_is_filled(
    server: FileServer, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    data.parent.mkdir()
    data.symlink_to(tmp_path / "disk")
    download(data, course(server))
    assert data.is_symlink()
    assert find_problem(tmp_path / "disk", len(CLASS_IDS)) is None


def test_a_folder_with_other_files_is_refused_and_unchanged(server: FileServer, data: Path) -> None:
    data.mkdir(parents=True)
    (data / "thesis.txt").write_text("dear")
    with pytest.raises(DownloadError, match="--data"):
        download(data, course(server))
    assert files(data.parent) == ["oxford102/thesis.txt"]
    assert server.requests == []


def test_a_file_in_place_of_the_folder_is_refused(server: FileServer, data: Path) -> None:
    data.parent.mkdir()
    data.write_text("dear")
    with pytest.raises(DownloadError):
        download(data, course(server))
    assert data.read_text() == "dear"


def test_a_mount_point_is_refused_with_an_alternative(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.mkdir(parents=True)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == data)
    with pytest.raises(DownloadError, match=f"--data {data}/oxford102"):
        download(data, course(server))
    assert server.requests == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: shutil.rmtree(data / "train"), "train/"),
        (lambda data: shutil.rmtree(data / "valid"), "valid/"),
        (lambda data: shutil.rmtree(data / "valid/21"), "valid/"),
        (lambda data: (data / "test/99").mkdir(parents=True), "test/"),
        (lambda data: (data / "test/21").mkdir(parents=True), "test/21"),
        (lambda data: (data / "valid/21/image_00000.jpg").unlink(), "valid/21"),
        (lambda data: (data / "train/2/a.jpg").touch(), "train/2"),
        (lambda data: (data / "cat_to_name.json").unlink(), "cat_to_name.json"),
        (lambda data: (data / "cat_to_name.json").write_text("[]"), "cat_to_name.json"),
        (
            lambda data: (data / "cat_to_name.json").write_text('{"1": "a", "2": "b", "21": "c"}'),
            "10",
        ),
    ],
)
def test_an_incomplete_folder_is_recognized(
    server: FileServer, data: Path, change: object, problem: str
) -> None:
    download(data, course(server))
    assert callable(change)
    change(data)
    assert problem in (find_problem(data, len(CLASS_IDS)) or "")


def test_a_dropped_connection_leaves_nothing(server: FileServer, data: Path) -> None:
    server.cut_after = 5000
    with pytest.raises(DownloadError):
        download(data, course(server))
    assert list(data.parent.iterdir()) == []
    server.cut_after = None
    download(data, course(server))
    assert find_problem(data, len(CLASS_IDS)) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError(28, "No space left")])
def test_a_failure_while_unpacking_leaves_nothing(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    copied = 0

    def copy_two_and_fail(source: io.BytesIO, target: io.BytesIO) -> None:
        nonlocal copied
        copied += 1
        target.write(source.read())
        if copied == 3:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", copy_two_and_fail)
        with pytest.raises((KeyboardInterrupt, SystemExit, DownloadError)):
            download(data, course(server))
    assert copied == 3
    assert list(data.parent.iterdir()) == []
    download(data, course(server))
    assert find_problem(data, len(CLASS_IDS)) is None


def test_the_next_run_removes_the_files_of_a_killed_run(server: FileServer, data: Path) -> None:
    remains = data.parent / ".oxford102.petalscope-download" / "data" / "train"
    remains.mkdir(parents=True)
    download(data, course(server))
    assert find_problem(data, len(CLASS_IDS)) is None
    assert [p.name for p in data.parent.iterdir()] == ["oxford102"]


def test_an_unsafe_archive_leaves_nothing(server: FileServer, data: Path, tmp_path: Path) -> None:
    server.files["/flower_data.zip"] = flower_zip({"flower_data/../../../evil.jpg": b"evil"})
    with pytest.raises(ArchiveError):
        download(data, course(server))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({f"flower_data/valid/{c}/image_00000.jpg": None for c in CLASS_IDS}, "valid/"),
        ({"flower_data/train/rose/a.jpg": b"x", "flower_data/valid/rose/a.jpg": b"x"}, "5"),
        ({"flower_data/valid/21/image_00000.jpg": b""}, "valid/21"),
    ],
)
def test_an_archive_that_is_not_the_data_set_leaves_nothing(
    server: FileServer, data: Path, changes: dict[str, bytes | None], problem: str
) -> None:
    server.files["/flower_data.zip"] = flower_zip(changes)
    with pytest.raises(ArchiveError, match=problem):
        download(data, course(server))
    assert list(data.parent.iterdir()) == []
    server.files["/flower_data.zip"] = flower_zip()
    download(data, course(server))
    assert find_problem(data, len(CLASS_IDS)) is None


NO_PHOTOS = {
    "an error page": b"<!DOCTYPE html><title>404</title>",
    "a truncated photo": photo_bytes(2)[:-200],
    "text": b"dear",
    "a tracking pixel": b"GIF89a" + bytes([1, 0, 1, 0, 0, 0, 0]) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
}


@pytest.mark.parametrize("kind", NO_PHOTOS)
def test_a_file_that_is_no_photo_is_named_and_leaves_nothing(
    server: FileServer, data: Path, kind: str
) -> None:
    name = "train/21/image_00002.jpg"
    server.files["/flower_data.zip"] = flower_zip({f"flower_data/{name}": NO_PHOTOS[kind]})
    with pytest.raises(ArchiveError, match=name) as caught:
        download(data, course(server))
    assert "\n" not in str(caught.value)
    assert list(data.parent.iterdir()) == []


def test_damaged_photos_are_found_in_all_splits(server: FileServer, data: Path) -> None:
    server.files["/flower_data.zip"] = flower_zip({"flower_data/test/21/a.jpg": photo_bytes()})
    download(data, course(server))
    assert find_damaged(data) == {}
    damaged = ["test/21/a.jpg", "train/1/image_00001.jpg", "valid/10/image_00000.jpg"]
    for name in damaged:
        (data / name).write_bytes(b"dear")
    assert sorted(find_damaged(data)) == damaged


def test_a_damaged_archive_leaves_nothing(server: FileServer, data: Path) -> None:
    good = server.files["/flower_data.zip"]
    server.files["/flower_data.zip"] = good.replace(photo_bytes(2), photo_bytes(2)[::-1], 1)
    with pytest.raises(ArchiveError):
        download(data, course(server))
    server.files["/flower_data.zip"] = good
    download(data, course(server))
    assert find_problem(data, len(CLASS_IDS)) is None


def test_a_given_sha256_is_checked(server: FileServer, data: Path) -> None:
    with pytest.raises(DownloadError, match="sha256"):
        download(data, course(server, "0" * 64))
    assert not data.exists()
    download(data, course(server, hashlib.sha256(server.files["/flower_data.zip"]).hexdigest()))
    assert data.exists()


def test_a_second_run_at_the_same_time_is_refused(server: FileServer, data: Path) -> None:
    def meanwhile(work: Path, folder: Path, report: object) -> None:
        with pytest.raises(FolderInUseError):
            download(data, course(server))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(data, meanwhile)
    assert server.requests == []
    download(data, course(server))


def test_a_data_set_that_another_run_has_finished_is_kept(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = data.with_name("other")
    download(other, course(server))
    server.requests.clear()

    @contextmanager
    def finish_another_run(folder: Path) -> Iterator[None]:
        with only_process_in(folder):
            other.rename(data)
            yield

    monkeypatch.setattr(oxford_flowers, "only_process_in", finish_another_run)
    download(data, course(server))
    assert server.requests == []
    assert [p.name for p in data.parent.iterdir()] == ["oxford102"]


def test_an_unwritable_folder_is_named_in_one_line(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=re.escape(str(tmp_path / "file"))) as caught:
        download(tmp_path / "file" / "oxford102", course(server))
    assert "\n" not in str(caught.value)


def test_a_closed_pipe_is_not_a_disk_error(server: FileServer, data: Path) -> None:
    def report(text: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        download_data(data, course(server), report=report, classes=len(CLASS_IDS))


class TestOxford:
    """Downloads with `from_oxford`, from a small copy of Oxford's files."""

    # Class of each photo; Oxford numbers photos and classes from 1.
    LABELS = (2, 1, 3, 3, 2, 1, 1, 2, 3)
    SPLITS: dict[str, tuple[int, ...]] = {  # noqa: RUF012 (a constant)
        "trnid": (1, 6, 3),
        "valid": (2, 4, 5),
        "tstid": (7, 8, 9),
    }

    @pytest.fixture
    def oxford(self, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
        scipy_io = pytest.importorskip("scipy.io")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for number in range(1, len(self.LABELS) + 1):
                member = tarfile.TarInfo(f"jpg/image_{number:05}.jpg")
                content = photo_bytes(number)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        lists = {}
        for name, matrix in (
            ("imagelabels.mat", {"labels": np.array([self.LABELS], np.uint8)}),
            ("setid.mat", {k: np.array([v], np.uint16) for k, v in self.SPLITS.items()}),
        ):
            file = io.BytesIO()
            scipy_io.savemat(file, matrix)
            lists[name] = file.getvalue()
        server.files = {"/102flowers.tgz": archive.getvalue()} | {
            f"/{name}": content for name, content in lists.items()
        }
        monkeypatch.setattr(
            oxford_flowers,
            "OXFORD_MD5",
            {
                name: hashlib.md5(server.files[f"/{name}"]).hexdigest()
                for name in oxford_flowers.OXFORD_MD5
            },
        )
        monkeypatch.setattr(oxford_flowers, "OXFORD_URL", server.url("/"))
        return server

    def check(self, data: Path) -> None:
        assert find_problem(data, 3) is None
        assert [p.name for p in data.parent.iterdir()] == ["oxford102"]
        expected = [
            f"{split}/{self.LABELS[number - 1]}/image_{number:05}.jpg"
            for part, split in (("trnid", "train"), ("valid", "valid"), ("tstid", "test"))
            for number in self.SPLITS[part]
        ]
        assert files(data) == sorted([*expected, "cat_to_name.json"])
        for name in expected:
            assert (data / name).read_bytes() == photo_bytes(int(name[-9:-4]))

    def test_photos_are_sorted_by_split_and_class(self, oxford: FileServer, data: Path) -> None:
        reported = download(data, from_oxford, classes=3)
        self.check(data)
        assert photo_counts(reported, data) == [3, 3, 3]

    def test_a_file_with_a_wrong_md5_is_refused(self, oxford: FileServer, data: Path) -> None:
        good = oxford.files["/102flowers.tgz"]
        oxford.files["/102flowers.tgz"] = good[:-1] + b"!"
        with pytest.raises(DownloadError, match="md5"):
            download(data, from_oxford, classes=3)
        assert not data.exists()
        oxford.files["/102flowers.tgz"] = good
        download(data, from_oxford, classes=3)
        self.check(data)

    def test_a_failure_while_moving_photos_leaves_nothing(
        self, oxford: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rename, moved = Path.rename, 0

        def rename_four_and_fail(path: Path, target: Path) -> Path:
            nonlocal moved
            if path.suffix == ".jpg":
                moved += 1
                if moved == 5:
                    raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", rename_four_and_fail)
            with pytest.raises(KeyboardInterrupt):
                download(data, from_oxford, classes=3)
        assert list(data.parent.iterdir()) == []
        download(data, from_oxford, classes=3)
        self.check(data)


def test_oxford_without_scipy_fails_before_any_download(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DownloadError, match="scipy"):
        download(data, from_oxford)
    assert server.requests == []


@pytest.mark.data
def test_the_real_folder_is_complete(data_dir: Path) -> None:
    assert find_problem(data_dir) is None
