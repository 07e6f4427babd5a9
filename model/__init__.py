"""All that training and serving share, and nothing of Flask.

    bytes -> images.decode_image -> an upright RGB image
          -> transforms.EvaluationTransform -> float32 array 3×H×W
          -> classifier.Classifier -> ranked (class id, name, probability)

`checkpoint` is the file between the two: `training` writes it, `classifier` reads it.
"""

from pathlib import Path
from typing import Final

__version__ = "0.1.0"

ROOT: Final = Path(__file__).resolve().parent.parent
BUNDLED_CHECKPOINT: Final = ROOT / "checkpoints" / "tf_efficientnet_lite2.safetensors"
