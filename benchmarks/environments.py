"""Environments of the servers that Petalscope is compared with.

name -> build/benchmarks/NAME: a virtual environment with the server on top of the project's
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = {
    "litserve": ("litserve>=0.2.19,<0.3", "python-multipart"),
    "mosec": ("mosec>=0.9.8,<0.10",),
    "bentoml": ("bentoml>=1.4.40,<1.5",),
}


def python_of(name: str) -> Path:
    """Return the interpreter of an environment, which is made where it is not there yet."""
    if name not in PACKAGES:
        return Path(sys.executable)
    folder = ROOT / "build" / "benchmarks" / name
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        venv.create(folder, clear=True, with_pip=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # What the project has installed is found behind what is installed here.
        lent = folder / "lib" / version / "site-packages" / "project.pth"
        lent.write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n")
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
        done.touch()
    return python
