"""Check that the photos of a run can be decoded, before training."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from model.data.photo_folder import (
    PhotoFolderError,
    UnreadablePhotoError,
    decode_photo,
    default_workers,
)

_MAX_LISTED: Final = 20


class UnreadablePhotosError(PhotoFolderError):
    """Photos of a run that cannot be decoded.

    Attributes:
        paths: The photos.
    """

    def __init__(self, reasons: Mapping[Path, str], checked: int) -> None:
        self.paths = tuple(reasons)
        lines = (
            f"{len(reasons)} of {checked} photos cannot be decoded:",
            *listed(reasons),
            "Repair or remove them, or leave them out with --check-photos skip.",
        )
        super().__init__("\n".join(lines))


def unreadable_photos(
    accelerator: Accelerator, photos: Mapping[Path, int | None]
) -> dict[Path, str]:
    """Decode every photo and return the message of each failure, sorted by path.

    The processes of a run share the work; each gets all failures.

    Args:
        accelerator: The processes of the run.
        photos: Map from a path to its `target_side`, because the limits depend on it; see
            `model.imaging.decode.decode_image`.
    """
    mine = sorted(photos)[accelerator.process_index :: accelerator.num_processes]
    threads = ThreadPoolExecutor(default_workers())
    try:
        messages = tqdm(
            threads.map(lambda path: _failure(path, photos[path]), mine),
            total=len(mine),
            desc="checking photos",
            unit="photo",
            leave=False,
            disable=None if accelerator.is_main_process else True,
        )
        found = [(path, message) for path, message in zip(mine, messages, strict=True) if message]
    finally:
        # Ctrl-C ends here too, and must not wait for queued photos.
        threads.shutdown(cancel_futures=True)
    return dict(sorted(gather_object(found)))


def listed(reasons: Mapping[Path, str]) -> list[str]:
    """Format failures as indented lines, at most 20."""
    lines = [f"  {message}" for message in list(reasons.values())[:_MAX_LISTED]]
    more = len(reasons) - len(lines)
    return [*lines, f"  … and {more} more"] if more else lines


def _failure(path: Path, target_side: int | None) -> str | None:
    try:
        decode_photo(path, target_side)
    except UnreadablePhotoError as error:
        return str(error)
    return None
