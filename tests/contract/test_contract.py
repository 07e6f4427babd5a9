"""The running service keeps to its own /openapi.json, whatever Schemathesis sends by it.

Each answer has a described status, content type, headers and schema, and none is a 5xx. A few dozen
requests an operation here, hundreds by `make soak`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from tests.conftest import ROOT
from tests.serving import serving

EXAMPLES: Final = os.environ.get("CONTRACT_EXAMPLES", "15")
SEED: Final = os.environ.get("FUZZ_SEED", "0")


def test_what_the_service_does_is_what_it_says(tmp_path: Path, tiny_checkpoint: Path) -> None:
    with serving(tmp_path, PETALSCOPE_CHECKPOINT=str(tiny_checkpoint)) as server:
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
        statuses = Counter(line["status"] for line in server.log if line["path"] == "/predict")
    # Else photos, or what is none, were not among what was sent.
    assert statuses[200] > 3
    assert statuses[415] > 0
    assert re.search(r"Operations: +(\d+) selected / \1 total", done.stdout)
