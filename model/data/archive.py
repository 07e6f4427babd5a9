"""A zip of class folders from anywhere, unpacked into the layout that training reads.

    zip -> every member looked at before any is written: where it would land, what it is, how big
        -> the photos among them -> FOLDER/train|valid|test/CLASS/PHOTO, their CRCs checked

Members are not extracted to the path they ask for: that path is made here of three names.
"""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Final

from tqdm import tqdm

from model.data.fetch import check_space
from model.errors import PetalscopeError
from model.imaging.decode import IMAGE_SUFFIXES

# The course's zip has 7,370 photos of 0.3 GB, and as many members again where a Mac packed it.
MOST_MEMBERS: Final = 100_000
MOST_BYTES: Final = 4 * 10**9

SPLITS: Final = ("train", "valid", "test")
_ENCRYPTED_FLAG: Final = 0x1


class ArchiveError(PetalscopeError):
    """What was downloaded is damaged, unsafe to unpack, or not the data set."""


def unpack(archive: Path, folder: Path) -> None:
    """Write the photos in `archive` into the class folders of `folder`.

    `SPLIT/CLASS/PHOTO` is taken at the top of the archive and one folder deeper; what else is in
    it (a Mac's shadow files, a readme) is left out.

    Raises:
        ArchiveError: It is no zip, a member is damaged, or one would land outside its folder, is
            a link or a device, or the archive is encrypted or unpacks to more than a data set can.
        DownloadError: The disk has too little space.
        OSError: The folder cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked(opened.infolist())
            check_space(folder, sum(member.file_size for member, _ in members))
            for member, place in tqdm(members, unit=" photos", disable=None):
                _write(opened, member, folder / place)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        raise ArchiveError(f"The archive is no zip, or a damaged one: {error}.") from error
    except NotImplementedError as error:
        raise ArchiveError(f"The archive is packed in a way not known here: {error}.") from error


def _checked(members: list[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Pair the photos with their places below the folder, when all members are harmless."""
    # zipfile never reads more of a member than the size it states, so the stated sizes bound all.
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
        raise ArchiveError(
            "The archive would unpack to more than a data set of flowers holds "
            f"({MOST_MEMBERS:,} files, {MOST_BYTES / 1e9:g} GB), so nothing was unpacked."
        )
    pairs = [(member, _place(member)) for member in members]
    return [(member, place) for member, place in pairs if place]


def _place(member: zipfile.ZipInfo) -> PurePosixPath | None:
    """Where a member goes, SPLIT/CLASS/PHOTO, or None for one that is no photo.

    Raises:
        ArchiveError: An honest archive has no such member.
    """
    name = member.filename.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
        raise ArchiveError(
            f"The archive holds {member.filename!r}, which would land outside its folder, "
            "so nothing was unpacked."
        )
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError(
            f"The archive holds {member.filename!r}, which is a link or a device, "
            "so nothing was unpacked."
        )
    if member.flag_bits & _ENCRYPTED_FLAG:
        raise ArchiveError("The archive is encrypted, so nothing was unpacked.")
    if (
        member.is_dir()
        or path.suffix.lower() not in IMAGE_SUFFIXES
        or path.name.startswith(".")
        or path.parts[0] == "__MACOSX"
        or len(path.parts) not in (3, 4)
        or path.parts[-3] not in SPLITS
    ):
        return None
    return PurePosixPath(*path.parts[-3:])


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(member) as source, path.open("xb") as target:
            shutil.copyfileobj(source, target)
    except FileExistsError:
        raise ArchiveError(f"The archive holds {member.filename!r} twice.") from None
