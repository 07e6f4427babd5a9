"""Unpacking of downloaded archives."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from model.data import archive as unpack_module
from model.data.archive import ArchiveError, unpack
from model.data.download import DownloadError


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_zip_of_one(path: Path, member: zipfile.ZipInfo) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/1/a.jpg", b"photo")
        archive.writestr(member, b"/etc/passwd")
    return path


def written(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "inside" / "folder"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("top", ["", "flower_data/", "./", "flowers\\"])
def test_the_archive_may_have_one_folder_at_its_top(tmp_path: Path, folder: Path, top: str) -> None:
    members = {f"{top}train/1/a.jpg": b"one", f"{top}valid/21/b.JPG": b"two"}
    unpack(write_zip(tmp_path / "a.zip", members), folder)
    assert written(folder) == ["train/1/a.jpg", "valid/21/b.JPG"]
    assert (folder / "valid/21/b.JPG").read_bytes() == b"two"


def test_members_other_than_photos_are_skipped(tmp_path: Path, folder: Path) -> None:
    members = {
        "train/": b"",
        "train/1/a.jpg": b"one",
        "train/1/.DS_Store": b"junk",
        "train/1/._a.jpg": b"junk",
        "train/1/deeper/b.jpg": b"junk",
        "__MACOSX/train/1/a.jpg": b"junk",
        "other/1/c.jpg": b"junk",
        "read.me": b"junk",
    }
    unpack(write_zip(tmp_path / "a.zip", members), folder)
    assert written(folder) == ["train/1/a.jpg"]


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jpg",
        "train/1/../../../../outside.jpg",
        "flower_data/train/../outside.jpg",
        "/outside.jpg",
        "C:/train/1/outside.jpg",
        "C:train/1/outside.jpg",
        "..\\..\\outside.jpg",
        "\\\\host\\share\\outside.jpg",
    ],
)
def test_a_member_outside_the_folder_is_refused_and_nothing_is_written(
    tmp_path: Path, folder: Path, name: str
) -> None:
    archive = write_zip(tmp_path / "a.zip", {"train/1/a.jpg": b"one", name: b"evil"})
    with pytest.raises(ArchiveError):
        unpack(archive, folder)
    assert written(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_a_link_or_device_is_refused_and_nothing_is_written(
    tmp_path: Path, folder: Path, kind: int
) -> None:
    member = zipfile.ZipInfo("train/1/b.jpg")
    member.external_attr = (kind | 0o777) << 16
    with pytest.raises(ArchiveError, match=r"train/1/b\.jpg"):
        unpack(write_zip_of_one(tmp_path / "a.zip", member), folder)
    assert written(folder) == []


def test_a_duplicate_member_is_refused(tmp_path: Path, folder: Path) -> None:
    members = {"train/1/a.jpg": b"one", "flower_data/train/1/a.jpg": b"two"}
    with pytest.raises(ArchiveError):
        unpack(write_zip(tmp_path / "a.zip", members), folder)


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 1_000_000), ("MAX_MEMBERS", 2)])
def test_a_zip_bomb_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(unpack_module, limit, value)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"train/1/{number}.jpg", bytes(500_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(ArchiveError):
        unpack(path, folder)
    assert written(folder) == []


def test_a_member_is_never_read_beyond_its_declared_size(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/1/a.jpg", bytes(5_000_000))
    stated = (5_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(stated, (10).to_bytes(4, "little")))
    with pytest.raises(ArchiveError):
        unpack(path, folder)
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) <= 10


def test_a_damaged_photo_fails_its_crc(tmp_path: Path, folder: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"train/1/a.jpg": b"petals" * 100})
    path.write_bytes(path.read_bytes().replace(b"petalspetals", b"petalsPETALS", 1))
    with pytest.raises(ArchiveError):
        unpack(path, folder)


@pytest.mark.parametrize("content", [b"", b"<html>Log in to the hotel's network</html>"])
def test_a_file_that_is_not_a_zip_is_refused(tmp_path: Path, folder: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(ArchiveError):
        unpack(path, folder)


def test_a_truncated_zip_is_refused(tmp_path: Path, folder: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"train/1/a.jpg": b"petals" * 100})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArchiveError):
        unpack(path, folder)


def test_an_encrypted_archive_is_refused(tmp_path: Path, folder: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"train/1/a.jpg": b"one"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveError):
        unpack(path, folder)


def test_an_unknown_compression_is_refused(tmp_path: Path, folder: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"train/1/a.jpg": b"one"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 99
    content[8] = 99
    path.write_bytes(content)
    with pytest.raises(ArchiveError):
        unpack(path, folder)


def test_too_little_disk_space_fails_before_anything_is_written(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(place: Path, needed: int) -> None:
        raise DownloadError(f"{needed} bytes")

    monkeypatch.setattr(unpack_module, "check_space", small)
    archive = write_zip(tmp_path / "a.zip", {"train/1/a.jpg": b"12345", "readme": b"1"})
    with pytest.raises(DownloadError, match="5 bytes"):
        unpack(archive, folder)
    assert written(folder) == []
