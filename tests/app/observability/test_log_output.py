"""The writer of the log."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.serving import TIMEOUT_SECONDS

_WRITE = """
import logging, sys
from app.observability.log_output import JsonLog
logger = logging.getLogger("test")
logger.addHandler(JsonLog())
for number in range(int(sys.argv[1])):
    logger.error("line %d %s", number, "x" * int(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("count", "length"), [(3, 5), (2500, 5), (60, 5000)])
def test_all_lines_are_written_in_order_before_the_process_ends(count: int, length: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _WRITE, str(count), str(length)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert [f"line {number} " in line for number, line in enumerate(lines)] == [True] * count


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs pipes that keep writes apart")
def test_each_write_ends_with_a_line() -> None:
    reading, writing = os.pipe2(os.O_DIRECT)
    with subprocess.Popen(
        [sys.executable, "-c", _WRITE, "60", "500"], cwd=ROOT, stdout=writing
    ) as process:
        os.close(writing)
        writes = list(iter(lambda: os.read(reading, 1 << 16), b""))
        os.close(reading)
        assert process.wait(TIMEOUT_SECONDS) == 0
    assert len(writes) < 60
    assert all(text.endswith(b"\n") for text in writes)
