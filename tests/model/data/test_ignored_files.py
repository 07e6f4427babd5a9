"""Files in folders of photos that are no photos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from model.data.ignored_files import ignored_files, ignored_line


def test_files_that_are_no_photos_are_counted_by_kind(tmp_path: Path) -> None:
    for name in (
        "21/rose.jpg", "21/._rose.jpg", "21/.DS_Store", "21/a.HEIC", "21/more/b.heic",
        "5/c.tiff", "5/README", ".cache/notes.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    counts = ignored_files([tmp_path / "21", tmp_path / "5", tmp_path])
    assert counts == Counter(
        {".heic": 2, "._*.jpg (macOS metadata)": 1, ".tiff": 1, "without suffix": 1}
    )
    line = ignored_line(counts)
    assert all(part in line for part in ("5 files", "2 .heic", "1 .tiff"))
