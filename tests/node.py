"""JavaScript modules in Node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import playwright

# Playwright contains Node, so that no machine has to skip these tests.
_NODE: Final = Path(playwright.__file__).parent / "driver" / "node"
_TIMEOUT_SECONDS: Final = 120


def run_in_node(imports: str, body: str) -> Any:
    """Run a program and return what it returns.

    Args:
        imports: Import statements of the program.
        body: Body of an async function, whose result JSON can express.
    """
    script = (
        f"{imports}\nconst result = await (async () => {{ {body} }})();\n"
        "console.log(JSON.stringify(result ?? null));"
    )
    done = subprocess.run(
        [_NODE, "--input-type=module"],
        input=script,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def imported(names: str, path: Path) -> str:
    """Return the statement that imports names from a module."""
    return f"import {{ {names} }} from {json.dumps(path.as_uri())};"
