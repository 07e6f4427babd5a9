"""The flowers, from their publishers into the layout that training reads.

    source (course zip | Oxford's originals) -> work folder beside DATA: part files, class folders
        -> whole? -> renamed to DATA: train/, valid/, maybe test/, cat_to_name.json

DATA appears in one step and only when everything is in it. A run after a kill finds the work
folder and goes on; two runs at once do not meet in it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from model.checkpoint.labels import LabelsError, read_category_names
from model.data.archive import SPLITS, ArchiveError, unpack
from model.data.data_folder import NAMES_FILE
from model.data.fetch import Checksum, DownloadError, Report, check_space, fetch
from model.folder_lock import only_process_in
from model.imaging.decode import IMAGE_SUFFIXES

COURSE_URL: Final = (
    "https://s3.amazonaws.com/content.udacity-data.com/courses/nd188/flower_data.zip"
)
# The zip has no names in it; these are the course's own.
CATEGORY_NAMES: Final = Path(__file__).with_name(NAMES_FILE)
CLASSES: Final = 102

Source = Callable[[Path, Path, Report], None]
"""Fills the second folder with SPLIT/CLASS/PHOTO, keeping what it downloads in the first."""


def download_data(data: Path, source: Source, *, report: Report, classes: int = CLASSES) -> None:
    """Bring a data set to the folder `data`, or find that it is there already.

    Args:
        data: Absent or empty, or a whole data set, which is left alone.
        source: `from_course` or `from_oxford`.
        report: Called with a line of text for each step.
        classes: The number of class folders that train and valid must have to be whole.

    Raises:
        DownloadError: `data` is something else, or the files cannot be had.
        ArchiveError: What was downloaded is damaged, unsafe, or not the data set; it is removed.
    """
    try:
        if _is_there(data, classes):
            report(f"{data} holds the data set already.")
        else:
            _bring(data, source, report, classes)
            report(f"{data} holds {_count_photos(data)}.")
        # Also what a run leaves that is killed right after its rename.
        shutil.rmtree(work_folder(data), ignore_errors=True)
    except BrokenPipeError:
        raise  # By `report`, whose reader has gone: no matter of the disk.
    except OSError as error:
        raise DownloadError(
            f"{error.filename or work_folder(data)} cannot be used: {error.strerror or error}. "
            "Put that right, and run the same command again to go on."
        ) from error


def work_folder(data: Path) -> Path:
    """The folder beside `data` that keeps what a stopped run has downloaded."""
    target = data.resolve()
    return target.with_name(f".{target.name}.petalscope-download")


def from_course(
    work: Path, folder: Path, report: Report, *, url: str = COURSE_URL, sha256: str | None = None
) -> None:
    """Fill `folder` from the course's zip, or from a copy of it at another address.

    Raises:
        DownloadError: The zip cannot be had, or its SHA-256 is not the one given.
        ArchiveError: It is damaged, or holds what no data set does.
    """
    archive = work / "flower_data.zip"
    fetch(url, archive, report=report, checksum=Checksum("sha256", sha256) if sha256 else None)
    report("Unpacking.")
    unpack(archive, folder)


def from_oxford(work: Path, folder: Path, report: Report) -> None:
    """Fill `folder` from Oxford's originals in Oxford's own split.

    Its parts `trnid`, `valid` and `tstid` become train (1,020 photos), valid (1,020) and test
    (6,149).

    Raises:
        DownloadError: A file cannot be had, its MD5 is not the one torchvision knows, or scipy is
            not installed.
    """
    if importlib.util.find_spec("scipy") is None:
        raise DownloadError(
            "Oxford's lists of photos need scipy to be read: pip install -r requirements-train.txt."
        )
    # Here, because a download of the course's zip need not wait for torch.
    from torchvision.datasets import Flowers102

    # torchvision's own download neither resumes nor times out; it accepts files that lie there.
    base = work / "flowers-102"
    base.mkdir(exist_ok=True)
    for name, md5 in Flowers102._file_dict.values():
        url = f"{Flowers102._download_url_prefix}{name}"
        fetch(url, base / name, report=report, checksum=Checksum("md5", md5))
    # It takes any jpg/ for a whole one, also one that a kill left half-filled.
    shutil.rmtree(base / "jpg", ignore_errors=True)
    check_space(work, (base / Flowers102._file_dict["image"][0]).stat().st_size)
    report("Unpacking.")
    for official, split in (("train", "train"), ("val", "valid"), ("test", "test")):
        photos = Flowers102(work, official, download=True, loader=Path)
        for path, label in (photos[index] for index in range(len(photos))):
            place = folder / split / str(label + 1)  # Oxford counts classes from 1
            place.mkdir(parents=True, exist_ok=True)
            path.rename(place / path.name)


def find_problem(folder: Path, classes: int = CLASSES) -> str | None:
    """Say what keeps `folder` from being a whole data set, in a clause; None when it is one.

    Whole is: `classes` folders in train, the same in valid, none but these in test where it is,
    at least one photo in each, none of them empty, and a name for each class.
    """
    train = _class_ids(folder / "train")
    if len(train) != classes:
        return f"train/ holds {len(train)} classes instead of {classes}"
    if _class_ids(folder / "valid") != train:
        return "valid/ does not hold the same classes as train/"
    if not _class_ids(folder / "test") <= train:
        return "test/ holds classes that train/ does not"
    for split in SPLITS:
        for class_id in sorted(_class_ids(folder / split)):
            sizes = [photo.stat().st_size for photo in _photos(folder / split / class_id)]
            if not sizes or not all(sizes):
                return f"{split}/{class_id} holds {'an empty file' if sizes else 'no photo'}"
    try:
        names = read_category_names(folder / CATEGORY_NAMES.name)
    except LabelsError:
        return f"{CATEGORY_NAMES.name} is missing or no list of names"
    if unnamed := sorted(train - names.keys()):
        return f"{CATEGORY_NAMES.name} has no name for class {', '.join(unnamed)}"
    return None


def _is_there(data: Path, classes: int) -> bool:
    """Whether `data` is a whole data set; False when there is room for one.

    Raises:
        DownloadError: Something else is in the way.
    """
    if data.exists() and not data.is_dir():
        raise DownloadError(f"{data} is a file; choose a folder with --data.")
    if not data.exists() or not any(data.iterdir()):
        if data.is_mount():
            raise DownloadError(
                f"{data} is a mounted disk, which cannot be renamed to; "
                f"choose a folder in it, such as --data {data / 'oxford102'}."
            )
        return False
    if problem := find_problem(data, classes):
        raise DownloadError(
            f"{data} is not empty, and not the data set: {problem}. "
            "Choose another folder with --data, or empty this one."
        )
    return True


def _bring(data: Path, source: Source, report: Report, classes: int) -> None:
    work = work_folder(data)
    folder = work / "whole"
    with only_process_in(work):
        # The run that held the lock until now may have brought it.
        if _is_there(data, classes):
            return
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        try:
            source(work, folder, report)
            shutil.copyfile(CATEGORY_NAMES, folder / CATEGORY_NAMES.name)
            if problem := find_problem(folder, classes):
                raise ArchiveError(f"What was downloaded is not the data set: {problem}.")
        except ArchiveError:
            # Kept, it would only fail again, also when its address gives a good one by then.
            shutil.rmtree(work, ignore_errors=True)
            raise
        if sys.platform != "win32":
            os.sync()  # Else a power cut could leave the new name with empty files.
        target = data.resolve()
        if target.exists():
            target.rmdir()
        folder.rename(target)


def _class_ids(split: Path) -> set[str]:
    return {path.name for path in split.iterdir() if path.is_dir()} if split.is_dir() else set()


def _photos(class_folder: Path) -> list[Path]:
    return [path for path in class_folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]


def _count_photos(data: Path) -> str:
    counts = {
        split: sum(len(_photos(data / split / name)) for name in _class_ids(data / split))
        for split in SPLITS
    }
    return ", ".join(f"{count:,} photos in {split}" for split, count in counts.items() if count)
