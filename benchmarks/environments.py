"""Virtual environments of the servers compared with Petalscope, in build/benchmarks/."""

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
    """Return the interpreter of a server's environment; create the environment if it is missing."""
    if name not in PACKAGES:
        return Path(sys.executable)
    folder = ROOT / "build" / "benchmarks" / name
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        venv.create(folder, clear=True, with_pip=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # The project's packages are importable; the environment's own take precedence.
        path_file = folder / "lib" / version / "site-packages" / "project.pth"
        path_file.write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n")
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
        done.touch()
    return python
