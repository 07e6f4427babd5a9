"""Check of a run's photos before training."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator

from model.training.photo_check import (
    UnreadablePhotosError,
    unreadable_photos,
)
from tests.conftest import flower_image


def test_every_unreadable_photo_is_found(tmp_path: Path) -> None:
    whole, cut, text, missing = (tmp_path / name for name in ("a.png", "b.png", "c.jpg", "d.png"))
    flower_image((60, 50)).save(whole)
    cut.write_bytes(whole.read_bytes()[:300])
    text.write_text("no photo")
    found = unreadable_photos(Accelerator(cpu=True), dict.fromkeys([whole, text, cut, missing]))
    assert list(found) == [cut, text, missing]
    assert all(str(path) in message for path, message in found.items())


def test_the_limits_of_each_photo_depend_on_its_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = {tmp_path / "train.png": None, tmp_path / "valid.png": 64}
    decoded: dict[Path, int | None] = {}
    monkeypatch.setattr("model.training.photo_check.decode_photo", decoded.__setitem__)
    assert unreadable_photos(Accelerator(cpu=True), sides) == {}
    assert decoded == sides


@pytest.mark.parametrize(("count", "lines"), [(1, 3), (20, 22), (21, 23), (500, 23)])
def test_a_long_list_is_cut(count: int, lines: int) -> None:
    reasons = {Path(f"{number}.jpg"): f"{number}.jpg: damaged" for number in range(count)}
    error = UnreadablePhotosError(reasons, checked=600)
    assert error.paths == tuple(reasons)
    assert len(str(error).splitlines()) == lines
    assert "--check-photos" in str(error)
