"""Training and inference code shared by the scripts and the service; independent of Flask."""

import importlib.util
import sys
from pathlib import Path
from typing import Any, Final

__version__ = "0.1.0"

ROOT: Final = Path(__file__).resolve().parent.parent
BUNDLED_CHECKPOINT: Final = ROOT / "checkpoints" / "tf_efficientnet_lite2.safetensors"


def int8_path(checkpoint: Path) -> Path:
    """Return the default path of a checkpoint's quantized copy, beside it."""
    return checkpoint.with_name(f"{checkpoint.stem}-int8.onnx")


BUNDLED_INT8: Final = int8_path(BUNDLED_CHECKPOINT)


def bundled_checkpoint(device: str) -> Path:
    """Return the bundled .safetensors file for a GPU, or the bundled int8 file for a CPU.

    Args:
        device: "cpu", "cuda" or "cuda:N"; "auto" is the GPU if PyTorch finds one.
    """
    on_gpu = _has_gpu() if device == "auto" else device != "cpu"
    return BUNDLED_CHECKPOINT if on_gpu else BUNDLED_INT8


def has_pytorch() -> bool:
    """Return True if PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def missing_gpu() -> str:
    """Return the reason why PyTorch with CUDA finds no GPU; "" if it finds one or is not loaded."""
    torch: Any = sys.modules.get("torch")
    if torch is None or torch.version.cuda is None or torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()
    except Exception as error:
        return str(error)
    return "PyTorch finds none"


def _has_gpu() -> bool:
    if not has_pytorch():
        return False
    import torch

    return torch.cuda.is_available()
