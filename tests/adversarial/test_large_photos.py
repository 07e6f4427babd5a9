"""Concurrent photos of the maximum pixel count in files of a few kilobytes."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from PIL import Image

from tests.adversarial.attacked_service import AttackedService, memory_of
from tests.adversarial.cases import post
from tests.model.imaging.test_decode import encode

_CONCURRENT: Final = 12
# One takes 430 MiB while it is decoded, and nothing afterwards.
_MAX_GROWTH_MIB: Final = 700
_MAX_RETAINED_MIB: Final = 300


def peak_of(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kib) // 1024


def test_large_photos_are_decoded_in_turn_and_do_not_block_small_ones(
    service: AttackedService,
) -> None:
    large = post(encode(Image.new("P", (8000, 8000)), "PNG", transparency=0, compress_level=1))
    assert len(large) < 300_000
    with ThreadPoolExecutor(_CONCURRENT) as senders:
        responses = [senders.submit(service.send, large) for _ in range(_CONCURRENT)]
        for _ in range(5):
            service.assert_unharmed()
        statuses = {response.result().status for response in responses}
    assert statuses <= {200, 429}
    assert 200 in statuses
    grown = peak_of(service.worker) - service.memory_before
    kept = memory_of(service.worker) - service.memory_before
    print(f"{_CONCURRENT} 64-megapixel photos: peak growth {grown} MiB, retained {kept} MiB")
    assert grown < _MAX_GROWTH_MIB
    assert kept < _MAX_RETAINED_MIB
