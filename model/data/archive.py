"""Safe unpacking of a zip of class folders.

All members are checked before the first is written. Each photo is written to a path built here from
its split, class and file name, never to the path that the archive asks for.
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

from model.data.download import check_space
from model.errors import PetalscopeError
from model.imaging.formats import IMAGE_SUFFIXES

# The course's zip has 7,370 photos (0.3 GB); macOS adds as many metadata files when it packs them.
MAX_MEMBERS: Final = 100_000
MAX_BYTES: Final = 4 * 10**9

SPLITS: Final = ("train", "valid", "test")
_ENCRYPTED_FLAG: Final = 0x1


class ArchiveError(PetalscopeError):
    """An archive that is damaged, unsafe to unpack or not the data set."""


def unpack(archive: Path, folder: Path) -> None:
    """Write the photos in `archive` into the class folders of `folder`.

    Members named `SPLIT/CLASS/PHOTO`, at the top of the archive or one folder deeper, are unpacked.
    All others, such as macOS metadata or a readme, are skipped.

    Raises:
        ArchiveError: The file is not a zip, or is damaged, encrypted or too large, or a member is
            a link, a device or outside the archive's folder.
        DownloadError: The disk has too little space.
        OSError: The folder is not writable.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked(opened.infolist())
            check_space(folder, sum(member.file_size for member, _ in members))
            for member, target in tqdm(members, unit=" photos", disable=None):
                _write(opened, member, folder / target)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        raise ArchiveError(f"The archive is not a zip file or is damaged ({error}).") from error
    except NotImplementedError as error:
        raise ArchiveError(f"The archive's compression is not supported ({error}).") from error


def _checked(members: list[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Check all members, and return the photos with their paths below the folder."""
    # zipfile never reads beyond a member's declared size, so declared sizes bound the total.
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_BYTES:
        raise ArchiveError(
            f"The archive exceeds {MAX_MEMBERS:,} files or {MAX_BYTES / 1e9:g} GB unpacked; "
            "nothing was unpacked."
        )
    targets = [(member, _target(member)) for member in members]
    return [(member, target) for member, target in targets if target]


def _target(member: zipfile.ZipInfo) -> PurePosixPath | None:
    """Return a member's target, SPLIT/CLASS/PHOTO, or None if it is not a photo.

    Raises:
        ArchiveError: The member is malicious or encrypted.
    """
    name = member.filename.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
        raise ArchiveError(
            f"The archive's member {member.filename!r} points outside its folder; "
            "nothing was unpacked."
        )
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError(
            f"The archive's member {member.filename!r} is a link or a device; nothing was unpacked."
        )
    if member.flag_bits & _ENCRYPTED_FLAG:
        raise ArchiveError("The archive is encrypted; nothing was unpacked.")
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
