"""Files in folders of photos that are no photos, such as HEIC, TIFF and macOS's `._*` files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from model.imaging.formats import FORMAT_NAMES, IMAGE_SUFFIXES

_MACOS_PREFIX: Final = "._"


def ignored_files(folders: Iterable[Path]) -> Counter[str]:
    """Count the files in folders and below that are no photos, by suffix.

    Hidden files and folders do not count, except the `._*` files that macOS writes beside photos.
    """
    files = {path for folder in folders for path in _files(folder)}
    kinds = (_kind(path) for path in files)
    return Counter(kind for kind in kinds if kind)


def ignored_line(counts: Counter[str]) -> str:
    """Format the result of `ignored_files`, at least one file."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    return (
        f"Ignored {counts.total()} files that are not {FORMAT_NAMES} photos: {kinds}. Convert "
        "photos of other formats to use them."
    )


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names)


def _kind(path: Path) -> str | None:
    name, suffix = path.name, path.suffix.lower()
    if name.startswith(_MACOS_PREFIX) and suffix in IMAGE_SUFFIXES:
        return f"{_MACOS_PREFIX}*{suffix} (macOS metadata)"
    if name.startswith(".") or suffix in IMAGE_SUFFIXES:
        return None
    return suffix or "without suffix"
