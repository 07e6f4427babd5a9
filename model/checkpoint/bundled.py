"""Selection of the bundled checkpoint for a device."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from model import BUNDLED_CHECKPOINT


def bundled_checkpoint(device: str) -> Path:
    """Return the .safetensors file for a GPU, or the .onnx file for a CPU.

    Args:
        device: "auto" takes the GPU where PyTorch sees one; else "cpu", "cuda" or "cuda:N".
    """
    on_gpu = _sees_gpu() if device == "auto" else device != "cpu"
    return BUNDLED_CHECKPOINT if on_gpu else BUNDLED_CHECKPOINT.with_suffix(".onnx")


def _sees_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
