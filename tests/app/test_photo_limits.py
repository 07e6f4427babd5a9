"""Default limits on photos by memory."""

from __future__ import annotations

import re

import pytest

from app.photo_limits import LARGEST_DEFAULTS, MIB, default_limits, reserved_mib
from tests.conftest import ROOT


def test_the_documented_container_has_the_largest_defaults() -> None:
    page = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    (gib,) = re.findall(r"--memory (\d+)g -p", page)
    assert default_limits(int(gib) * 1024 * MIB, with_pytorch=False) == LARGEST_DEFAULTS


def test_the_documented_defaults_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\d+)m` \| (\d+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) > 2
    for row in rows:
        mib, *shown = map(int, row)
        limits = default_limits(mib * MIB, with_pytorch=False)
        assert shown == [limits.megapixels, limits.body_mib, limits.in_flight]


@pytest.mark.parametrize("with_pytorch", [False, True])
@pytest.mark.parametrize("free_mib", [120, 200, 500, 1000, 1500, 2000, 2500, 8000])
def test_the_worst_photos_fit_into_the_memory(free_mib: int, with_pytorch: bool) -> None:
    memory = (reserved_mib(with_pytorch) + free_mib) * MIB
    limits = default_limits(memory, with_pytorch)
    assert limits.mib <= free_mib
    less = default_limits(memory // 2, with_pytorch)
    assert less.megapixels <= limits.megapixels
    assert less.body_mib <= limits.body_mib
    assert less.in_flight <= limits.in_flight


def test_too_little_memory_still_gives_limits() -> None:
    limits = default_limits(64 * MIB, with_pytorch=False)
    assert (limits.megapixels, limits.body_mib, limits.in_flight) == (1, 1, 1)
