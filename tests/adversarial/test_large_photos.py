"""Photos of the most pixels that are taken, at the same time, as files of some kilobytes."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from PIL import Image

from tests.adversarial.kinds import post
from tests.adversarial.service import HostileService, memory_of
from tests.model.imaging.test_decode import encode

_AT_ONCE: Final = 4
# One takes 400 MiB while it is decoded, and 250 until it is answered. Decoded at the same time,
# four took 4 GiB, and 24 of them would take more than most machines have.
_MOST_MIB: Final = 1300
_MOST_KEPT_MIB: Final = 300


def peak_of(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kib) // 1024


def test_large_photos_take_turns_and_ordinary_ones_pass_them(service: HostileService) -> None:
    large = post(encode(Image.new("P", (8000, 8000)), "PNG", transparency=0, compress_level=1))
    assert len(large) < 300_000
    with ThreadPoolExecutor(_AT_ONCE) as senders:
        answers = [senders.submit(service.send, large) for _ in range(_AT_ONCE)]
        for _ in range(5):
            service.assert_unharmed()
        statuses = {answer.result().status for answer in answers}
    assert statuses <= {200, 429}
    assert 200 in statuses
    grown = peak_of(service.worker) - service.memory_before
    kept = memory_of(service.worker) - service.memory_before
    print(f"{_AT_ONCE} photos of 64 megapixels took {grown} MiB at most, and {kept} MiB stay")
    assert grown < _MOST_MIB
    assert kept < _MOST_KEPT_MIB
