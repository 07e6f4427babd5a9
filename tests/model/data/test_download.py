from __future__ import annotations

import functools
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.data import download as download_module
from model.data import fetch as fetch_module
from model.data.archive import ArchiveError
from model.data.download import (
    CATEGORY_NAMES,
    Source,
    download_data,
    find_problem,
    from_course,
    from_oxford,
    work_folder,
)
from model.data.fetch import DownloadError
from model.folder_lock import FolderInUseError
from tests.conftest import flower_image
from tests.file_server import FileServer, running_file_server

CLASS_IDS = ("1", "10", "2", "21")


def photo_bytes(seed: int = 0) -> bytes:
    file = io.BytesIO()
    flower_image((32, 24), seed).save(file, "JPEG")
    return file.getvalue()


def flower_zip(changes: dict[str, bytes | None] | None = None) -> bytes:
    """A small archive in the course's layout; `changes` adds, replaces or (None) drops members."""
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
    monkeypatch.setattr(fetch_module, "PAUSES_S", (0.0, 0.0))
    with running_file_server() as server:
        server.files["/flower_data.zip"] = flower_zip()
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data" / "oxford102"


def bring(data: Path, source: Source, classes: int = len(CLASS_IDS)) -> list[str]:
    said: list[str] = []
    download_data(data, source, report=said.append, classes=classes)
    return said


def course(server: FileServer, sha256: str | None = None) -> Source:
    return functools.partial(from_course, url=server.url(), sha256=sha256)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_the_course_zip_becomes_class_folders_with_names(server: FileServer, data: Path) -> None:
    said = bring(data, course(server))
    assert sorted(p.name for p in data.iterdir()) == ["cat_to_name.json", "train", "valid"]
    assert sorted(p.name for p in (data / "train").iterdir()) == list(CLASS_IDS)
    assert (data / "train/21/image_00002.jpg").read_bytes() == photo_bytes(2)
    assert json.loads((data / "cat_to_name.json").read_text())["21"] == "fire lily"
    assert said[-1] == f"{data} holds 12 photos in train, 4 photos in valid."


def test_nothing_but_the_data_set_stays(server: FileServer, data: Path) -> None:
    bring(data, course(server))
    assert [p.name for p in data.parent.iterdir()] == ["oxford102"]


def test_a_test_part_comes_along_where_the_archive_has_one(server: FileServer, data: Path) -> None:
    server.files["/flower_data.zip"] = flower_zip({"flower_data/test/21/a.jpg": photo_bytes()})
    bring(data, course(server))
    assert files(data / "test") == ["21/a.jpg"]


def test_names_of_all_102_classes_are_shipped() -> None:
    names = json.loads(CATEGORY_NAMES.read_text())
    assert sorted(names, key=int) == [str(number) for number in range(1, 103)]
    assert (names["1"], names["21"], names["102"]) == (
        "pink primrose",
        "fire lily",
        "blackberry lily",
    )


def test_a_second_run_asks_for_nothing_and_changes_nothing(server: FileServer, data: Path) -> None:
    bring(data, course(server))
    before = data.stat()
    server.asked.clear()
    assert bring(data, course(server)) == [f"{data} holds the data set already."]
    assert server.asked == []
    assert data.stat() == before


def test_an_empty_folder_and_a_link_to_one_are_filled(
    server: FileServer, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    data.parent.mkdir()
    data.symlink_to(tmp_path / "disk")
    bring(data, course(server))
    assert data.is_symlink()
    assert find_problem(tmp_path / "disk", len(CLASS_IDS)) is None


def test_a_folder_with_something_else_in_it_is_refused_untouched(
    server: FileServer, data: Path
) -> None:
    data.mkdir(parents=True)
    (data / "thesis.txt").write_text("dear")
    with pytest.raises(DownloadError, match=r"not empty, and not the data set.*--data"):
        bring(data, course(server))
    assert files(data.parent) == ["oxford102/thesis.txt"]
    assert server.asked == []


def test_a_file_in_the_place_of_the_folder_is_refused(server: FileServer, data: Path) -> None:
    data.parent.mkdir()
    data.write_text("dear")
    with pytest.raises(DownloadError, match="is a file"):
        bring(data, course(server))
    assert data.read_text() == "dear"


def test_a_mounted_disk_is_refused_with_a_folder_that_would_do(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.mkdir(parents=True)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == data)
    with pytest.raises(DownloadError, match=f"--data {data}/oxford102"):
        bring(data, course(server))
    assert server.asked == []


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda data: shutil.rmtree(data / "train"), "train/ holds 0 classes instead of 4"),
        (lambda data: shutil.rmtree(data / "valid"), "valid/ does not hold the same classes"),
        (lambda data: shutil.rmtree(data / "valid/21"), "valid/ does not hold the same classes"),
        (lambda data: (data / "test/99").mkdir(parents=True), "test/ holds classes that train/"),
        (lambda data: (data / "test/21").mkdir(parents=True), "test/21 holds no photo"),
        (lambda data: (data / "valid/21/image_00000.jpg").unlink(), "valid/21 holds no photo"),
        (lambda data: (data / "train/2/a.jpg").touch(), "train/2 holds an empty file"),
        (lambda data: (data / "cat_to_name.json").unlink(), "cat_to_name.json is missing"),
        (lambda data: (data / "cat_to_name.json").write_text("[]"), "no list of names"),
        (
            lambda data: (data / "cat_to_name.json").write_text('{"1": "a", "2": "b", "21": "c"}'),
            "no name for class 10",
        ),
    ],
)
def test_a_folder_that_lacks_a_part_is_not_taken_for_whole(
    server: FileServer, data: Path, spoil: object, problem: str
) -> None:
    bring(data, course(server))
    assert callable(spoil)
    spoil(data)
    assert problem in (find_problem(data, len(CLASS_IDS)) or "")


def test_a_download_cut_short_is_finished_by_the_next_run(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "PAUSES_S", ())
    server.cuts = [5000]
    with pytest.raises(DownloadError, match="run the same command again to go on"):
        bring(data, course(server))
    assert not data.exists()
    bring(data, course(server))
    assert server.asked == [None, "bytes=5000-"]
    assert find_problem(data, len(CLASS_IDS)) is None


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_kill_in_the_middle_of_unpacking_is_healed_by_the_next_run(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    copied = 0

    def copy_two_and_stop(source: io.BytesIO, target: io.BytesIO) -> None:
        nonlocal copied
        copied += 1
        if copied == 3:
            target.write(source.read()[:10])
            raise stop
        target.write(source.read())

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", copy_two_and_stop)
        with pytest.raises(stop):
            bring(data, course(server))
    assert copied == 3
    assert not data.exists()
    bring(data, course(server))
    assert server.asked == [None]  # the zip was whole and is not fetched again
    assert find_problem(data, len(CLASS_IDS)) is None
    assert (data / "train/10/image_00001.jpg").read_bytes() == photo_bytes(1)


@pytest.mark.parametrize("step", ["copyfile", "rmtree"])
def test_a_kill_right_before_or_after_the_rename_is_healed_by_the_next_run(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(shutil, step, stop)
        with pytest.raises(SystemExit):
            bring(data, course(server))
    assert data.exists() == (step == "rmtree")
    bring(data, course(server))
    assert find_problem(data, len(CLASS_IDS)) is None
    assert [p.name for p in data.parent.iterdir()] == ["oxford102"]
    assert server.asked == [None]


def test_an_archive_with_members_that_point_outside_leaves_nothing(
    server: FileServer, data: Path, tmp_path: Path
) -> None:
    server.files["/flower_data.zip"] = flower_zip({"flower_data/../../../evil.jpg": b"evil"})
    with pytest.raises(ArchiveError, match="outside its folder"):
        bring(data, course(server))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({f"flower_data/valid/{c}/image_00000.jpg": None for c in CLASS_IDS}, "valid/"),
        ({"flower_data/train/rose/a.jpg": b"x", "flower_data/valid/rose/a.jpg": b"x"}, "5 classes"),
        ({"flower_data/valid/21/image_00000.jpg": b""}, "valid/21 holds an empty file"),
    ],
)
def test_an_archive_that_is_not_the_data_set_is_told_and_fetched_anew_next_time(
    server: FileServer, data: Path, changes: dict[str, bytes | None], problem: str
) -> None:
    server.files["/flower_data.zip"] = flower_zip(changes)
    with pytest.raises(ArchiveError, match=problem):
        bring(data, course(server))
    assert list(data.parent.iterdir()) == []
    server.files["/flower_data.zip"] = flower_zip()
    bring(data, course(server))
    assert find_problem(data, len(CLASS_IDS)) is None


def test_a_damaged_archive_is_told_and_fetched_anew_next_time(
    server: FileServer, data: Path
) -> None:
    good = server.files["/flower_data.zip"]
    server.files["/flower_data.zip"] = good.replace(photo_bytes(2), photo_bytes(2)[::-1], 1)
    with pytest.raises(ArchiveError, match="damaged"):
        bring(data, course(server))
    server.files["/flower_data.zip"] = good
    bring(data, course(server))
    assert find_problem(data, len(CLASS_IDS)) is None


def test_the_sha256_that_is_given_is_compared(server: FileServer, data: Path) -> None:
    with pytest.raises(DownloadError, match="instead of 0000"):
        bring(data, course(server, "0" * 64))
    assert not data.exists()
    bring(data, course(server, hashlib.sha256(server.files["/flower_data.zip"]).hexdigest()))
    assert data.exists()


def test_a_second_run_at_the_same_time_is_refused(server: FileServer, data: Path) -> None:
    def meanwhile(work: Path, folder: Path, report: object) -> None:
        with pytest.raises(FolderInUseError, match="Another process"):
            bring(data, course(server))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(data, meanwhile)
    assert server.asked == []
    bring(data, course(server))


def test_a_data_set_that_another_run_has_brought_meanwhile_is_kept(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(data, course(server))
    server.asked.clear()
    answers = iter([False, True])
    monkeypatch.setattr(download_module, "_is_there", lambda *arguments: next(answers))
    bring(data, course(server))
    assert server.asked == []
    assert [p.name for p in data.parent.iterdir()] == ["oxford102"]


def test_a_folder_that_cannot_be_written_is_told_in_one_line(
    server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be used: Not a directory") as caught:
        bring(tmp_path / "file" / "oxford102", course(server))
    assert "\n" not in str(caught.value)


def test_a_reader_of_the_messages_that_has_gone_is_not_taken_for_a_bad_disk(
    server: FileServer, data: Path
) -> None:
    def report(text: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        download_data(data, course(server), report=report, classes=len(CLASS_IDS))


def test_a_full_disk_is_told_and_keeps_what_has_arrived(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(DownloadError, match="No space left on device"):
            bring(data, course(server))
    assert not data.exists()
    bring(data, course(server))
    assert server.asked == [None]


# torchvision unpacks the tar, whose MD5 is checked, without naming a filter.
@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
class TestOxford:
    """`from_oxford` on a small copy of Oxford's files, through torchvision's own reader."""

    # Photo number -> class number as Oxford counts it, from 1.
    LABELS = (2, 1, 3, 3, 2, 1, 1, 2, 3)
    SPLITS: dict[str, tuple[int, ...]] = {  # noqa: RUF012 (a constant)
        "trnid": (1, 6, 3),
        "valid": (2, 4, 5),
        "tstid": (7, 8, 9),
    }

    @pytest.fixture
    def oxford(self, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
        scipy_io = pytest.importorskip("scipy.io")
        from torchvision.datasets import Flowers102

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
        table = {
            key: (name, hashlib.md5(server.files[f"/{name}"]).hexdigest())
            for key, (name, _) in Flowers102._file_dict.items()
        }
        monkeypatch.setattr(Flowers102, "_file_dict", table)
        monkeypatch.setattr(Flowers102, "_download_url_prefix", server.url("/"))
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

    def test_each_photo_lands_in_the_folder_of_its_split_and_class(
        self, oxford: FileServer, data: Path
    ) -> None:
        said = bring(data, from_oxford, classes=3)
        self.check(data)
        assert said[-1].endswith("3 photos in train, 3 photos in valid, 3 photos in test.")

    def test_a_dropped_connection_is_resumed(self, oxford: FileServer, data: Path) -> None:
        oxford.cuts = [1000]
        bring(data, from_oxford, classes=3)
        self.check(data)
        assert oxford.asked == [None, "bytes=1000-", None, None]

    def test_a_file_with_a_wrong_md5_is_refused(self, oxford: FileServer, data: Path) -> None:
        good = oxford.files["/102flowers.tgz"]
        oxford.files["/102flowers.tgz"] = good[:-1] + b"!"
        with pytest.raises(DownloadError, match="md5"):
            bring(data, from_oxford, classes=3)
        assert not data.exists()
        oxford.files["/102flowers.tgz"] = good
        bring(data, from_oxford, classes=3)
        self.check(data)

    def test_a_kill_while_photos_are_put_in_place_is_healed_by_the_next_run(
        self, oxford: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rename, moved = Path.rename, 0

        def rename_four_and_stop(path: Path, target: Path) -> Path:
            nonlocal moved
            if path.suffix == ".jpg":
                moved += 1
                if moved == 5:
                    raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", rename_four_and_stop)
            with pytest.raises(KeyboardInterrupt):
                bring(data, from_oxford, classes=3)
        assert work_folder(data).exists()
        assert not data.exists()
        bring(data, from_oxford, classes=3)
        self.check(data)
        assert len(oxford.asked) == 3


def test_oxford_without_scipy_is_told_before_anything_is_fetched(
    server: FileServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DownloadError, match=r"scipy.*requirements-train"):
        bring(data, from_oxford)
    assert server.asked == []


def test_torchvision_still_names_oxfords_three_files() -> None:
    from torchvision.datasets import Flowers102

    assert Flowers102._download_url_prefix.startswith("https://")
    assert {name for name, _ in Flowers102._file_dict.values()} == {
        "102flowers.tgz",
        "imagelabels.mat",
        "setid.mat",
    }


@pytest.mark.data
def test_the_real_folder_is_recognised_as_whole(data_dir: Path) -> None:
    assert find_problem(data_dir) is None
