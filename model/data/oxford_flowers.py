"""The flower data set: downloaded, checked and moved into place in one step."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tqdm import tqdm

from model.checkpoint.labels import LabelsError, read_category_names
from model.data import NAMES_FILE
from model.data.archive import SPLITS, ArchiveError, unpack
from model.data.download import DownloadError, check_space, fetch
from model.folder_lock import only_process_in
from model.imaging.decode import decode_image
from model.imaging.formats import IMAGE_SUFFIXES, ImageError

COURSE_URL: Final = (
    "https://s3.amazonaws.com/content.udacity-data.com/courses/nd188/flower_data.zip"
)
OXFORD_URL: Final = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
OXFORD_PHOTOS: Final = "102flowers.tgz"
OXFORD_LABELS: Final = "imagelabels.mat"
OXFORD_SPLITS: Final = "setid.mat"
OXFORD_MD5: Final = {
    OXFORD_PHOTOS: "52808999861908f626f3c1f4e79d11fa",
    OXFORD_LABELS: "e0620be6f572b9609742df49c70aed4d",
    OXFORD_SPLITS: "a5357ecc9cb78c4bef273ce3793fc85c",
}
# The course's zip has no names; these are the course's own.
CATEGORY_NAMES: Final = Path(__file__).with_name(NAMES_FILE)
CLASSES: Final = 102
_MAX_LISTED: Final = 5

Report = Callable[[str], None]
Source = Callable[[Path, Path, Report], None]
"""Fills the second folder with SPLIT/CLASS/PHOTO; keeps its downloads in the first."""


def download_data(data: Path, source: Source, *, report: Report, classes: int = CLASSES) -> None:
    """Download a data set to the folder `data`, unless the folder already holds it.

    `data` appears complete or not at all. After a failure nothing is left beside it.

    Args:
        data: Folder that is missing, empty or already holds the data set.
        source: `from_course` or `from_oxford`.
        report: Called with a line of text for each step.
        classes: Number of class folders in train and valid.

    Raises:
        DownloadError: The download failed, or `data` holds something else.
        ArchiveError: The download is damaged, unsafe to unpack or not the data set, or holds a
            file that cannot be decoded as a photo.
        FolderInUseError: Another process is downloading to `data`.
    """
    try:
        if _is_complete(data, classes):
            report(f"{data} already holds the data set.")
            return
        _download(data, source, report, classes)
        report(f"{data} holds {_count_photos(data)}.")
    except BrokenPipeError:
        raise  # by `report`, whose reader closed the pipe
    except OSError as error:
        raise DownloadError(
            f"{error.filename or data.parent} cannot be used ({error.strerror or error}): "
            "fix this, then run the command again."
        ) from error


def from_course(
    work: Path, folder: Path, report: Report, *, url: str = COURSE_URL, sha256: str | None = None
) -> None:
    """Fill `folder` from the course's zip, or from a copy of it at another address.

    Raises:
        DownloadError: The download failed, or its SHA-256 differs from `sha256`.
        ArchiveError: The zip is damaged or unsafe to unpack.
    """
    archive = work / "flower_data.zip"
    report(f"Downloading {url}.")
    fetch(url, archive, f"sha256:{sha256}" if sha256 else None)
    report("Unpacking.")
    unpack(archive, folder)


def from_oxford(work: Path, folder: Path, report: Report) -> None:
    """Fill `folder` from Oxford's original files in Oxford's own split.

    Its parts `trnid`, `valid` and `tstid` become train (1,020 photos), valid (1,020) and test
    (6,149).

    Raises:
        DownloadError: A download failed or has another MD5, or scipy is not installed.
    """
    if importlib.util.find_spec("scipy") is None:
        raise DownloadError(
            "Oxford's lists of photos need scipy: pip install -r requirements-train.txt."
        )
    from scipy.io import loadmat

    for name, md5 in OXFORD_MD5.items():
        report(f"Downloading {OXFORD_URL}{name}.")
        fetch(f"{OXFORD_URL}{name}", work / name, f"md5:{md5}")
    report("Unpacking.")
    # JPEGs hardly compress, so the photos take about as much space as their archive.
    check_space(work, (work / OXFORD_PHOTOS).stat().st_size)
    with tarfile.open(work / OXFORD_PHOTOS) as archive:
        archive.extractall(work, filter="data")
    labels = loadmat(work / OXFORD_LABELS)["labels"].ravel()
    numbers = loadmat(work / OXFORD_SPLITS)
    for part, split in (("trnid", "train"), ("valid", "valid"), ("tstid", "test")):
        for number in numbers[part].ravel():
            class_folder = folder / split / str(labels[number - 1])
            class_folder.mkdir(parents=True, exist_ok=True)
            name = f"image_{number:05}.jpg"
            (work / "jpg" / name).rename(class_folder / name)


def find_problem(folder: Path, classes: int = CLASSES) -> str | None:
    """Return why `folder` is not a complete data set, as a clause; None if it is complete.

    A complete data set has `classes` class folders in train, the same in valid, no others in test,
    at least one photo in each, no empty file, and a name for each class.
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
        return f"{CATEGORY_NAMES.name} is missing or not a list of names"
    if unnamed := sorted(train - names.keys()):
        return f"{CATEGORY_NAMES.name} has no name for class {', '.join(unnamed)}"
    return None


def find_damaged(folder: Path) -> dict[str, str]:
    """Decode each photo of a data set, and return the error of each that fails.

    Returns:
        Messages by the photo's path in `folder`.
    """
    paths = [
        photo
        for split in SPLITS
        for class_id in sorted(_class_ids(folder / split))
        for photo in sorted(_photos(folder / split / class_id))
    ]
    threads = ThreadPoolExecutor()
    try:
        errors = tqdm(
            threads.map(_decoding_error, paths), total=len(paths), unit=" photos", disable=None
        )
        found = zip(paths, errors, strict=True)
        return {str(path.relative_to(folder)): error for path, error in found if error}
    finally:
        # Ctrl-C ends here too, and must not wait for queued photos.
        threads.shutdown(cancel_futures=True)


def _decoding_error(path: Path) -> str | None:
    try:
        decode_image(path, target_side=1)  # a reduced scale reads the whole file in less time
    except ImageError as error:
        return str(error)
    return None


def _is_complete(data: Path, classes: int) -> bool:
    """Return True if `data` is a complete data set, False if it is missing or empty.

    Raises:
        DownloadError: `data` holds something else.
    """
    if data.exists() and not data.is_dir():
        raise DownloadError(f"{data} is a file: choose a folder with --data.")
    if not data.exists() or not any(data.iterdir()):
        if data.is_mount():
            raise DownloadError(
                f"{data} is a mount point, which cannot be replaced: "
                f"choose a folder in it, such as --data {data / 'oxford102'}."
            )
        return False
    if problem := find_problem(data, classes):
        raise DownloadError(
            f"{data} is not empty and not the data set ({problem}): "
            "choose another folder with --data, or empty this one."
        )
    return True


def _download(data: Path, source: Source, report: Report, classes: int) -> None:
    target = data.resolve()
    # A fixed name, so that the next run finds what a killed one left.
    work = target.with_name(f".{target.name}.petalscope-download")
    with only_process_in(work):
        try:
            _clear(work)
            # The previous holder of the lock may have finished the same download.
            if _is_complete(data, classes):
                return
            downloads, folder = work / "downloads", work / "data"
            downloads.mkdir()
            folder.mkdir()
            source(downloads, folder, report)
            shutil.copyfile(CATEGORY_NAMES, folder / NAMES_FILE)
            if problem := find_problem(folder, classes):
                raise ArchiveError(f"The download is not the data set ({problem}).")
            report("Checking that the photos can be decoded.")
            if damaged := find_damaged(folder):
                raise ArchiveError(_damaged_message(damaged))
            if sys.platform != "win32":
                os.sync()  # so that a power cut cannot leave the final name with empty files
            if target.exists():
                target.rmdir()
            folder.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _damaged_message(errors: dict[str, str]) -> str:
    shown = " ".join(f"{path}: {error}" for path, error in list(errors.items())[:_MAX_LISTED])
    more = f" {len(errors) - _MAX_LISTED} more cannot." if len(errors) > _MAX_LISTED else ""
    return (
        f"The download holds {len(errors)} files that cannot be decoded as photos; check the "
        f"address, then run the command again. {shown}{more}"
    )


def _clear(work: Path) -> None:
    """Remove what a killed run left, except the lock file."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


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
