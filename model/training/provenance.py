"""Provenance of a checkpoint: library versions and Git revision."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

import model

_LIBRARIES: Final = ("torch", "torchvision", "timm", "accelerate", "safetensors", "pillow", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of Petalscope, Python and the libraries that influence the result."""
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"petalscope": model.__version__, "python": platform.python_version(), **libraries}


def revision() -> str:
    """Return the Git revision, with "-dirty" for local changes; "" if unknown."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(  # noqa: S603  # a fixed command
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return result.stdout.strip()
