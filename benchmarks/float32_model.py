"""The bundled model as a float32 ONNX file, so that every server and backend runs the same one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.environments import ROOT
from model import BUNDLED_CHECKPOINT
from model.backends.onnx_export import export
from model.checkpoint.format import load_checkpoint

_PATH = ROOT / "runs" / "benchmarks" / "float32.onnx"


def float32_onnx() -> Path:
    """Export the bundled checkpoint, unless the file is newer, and return its path."""
    if not _PATH.exists() or _PATH.stat().st_mtime < BUNDLED_CHECKPOINT.stat().st_mtime:
        export(*load_checkpoint(BUNDLED_CHECKPOINT), _PATH)
    return _PATH
