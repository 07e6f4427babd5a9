"""Training and inference code shared by the scripts and the service; independent of Flask."""

from pathlib import Path
from typing import Final

__version__ = "0.1.0"

ROOT: Final = Path(__file__).resolve().parent.parent
BUNDLED_CHECKPOINT: Final = ROOT / "checkpoints" / "tf_efficientnet_lite2.safetensors"
