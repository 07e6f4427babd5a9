"""Schemathesis test of a running service against its own /openapi.json.

Every response must have a documented status, content type, headers and schema, and none may be a
5xx. `make fuzz` sends more examples per operation.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import ROOT
from tests.serving import serving

pytestmark = pytest.mark.slow

EXAMPLES: Final = os.environ.get("CONTRACT_EXAMPLES", "15")
SEED: Final = os.environ.get("FUZZ_SEED", "0")


def test_the_service_conforms_to_its_openapi_document(tmp_path: Path, tiny_onnx: Path) -> None:
    settings = {
        "PETALSCOPE_CHECKPOINT": str(tiny_onnx),
        "PETALSCOPE_FEEDBACK_DIR": str(tmp_path / "feedback"),
    }
    with serving(tmp_path, **settings) as server:
        options = {
            "--url": server.address,
            "--max-examples": EXAMPLES,
            "--seed": SEED,
            "--generation-database": "none",
        }
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", ROOT / "tests" / "contract" / "schemathesis.toml"),
                *("run", f"{server.address}openapi.json", "--no-color"),
                *(word for option in options.items() for word in option),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.contract.photos",
            },
            capture_output=True,
            text=True,
        )
        print(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        statuses = Counter(line["status"] for line in server.log if line.get("path") == "/predict")
    # Otherwise the hook was not used.
    assert statuses[200] > 3
    assert statuses[415] > 0
    assert re.search(r"Operations: +(\d+) selected / \1 total", done.stdout)
