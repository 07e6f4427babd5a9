"""Reference logits: a network's logits of a generated image, stored in its file, checked at load.

They detect damage that the file format cannot, such as weights replaced in an ONNX graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from model.backends.base import Array, Backend, Pixels
from model.checkpoint.metadata import (
    InferenceFailedError,
    Metadata,
    MismatchedLogitsError,
    NotANumberError,
    Reference,
)
from model.imaging.transforms import EvaluationTransform

# Largest measured differences of the bundled model, as fractions of the range of its logits:
# float32 against float16 0.3 %, against bfloat16 2.2 %; int8 on CPUs with and without VNNI 9.9 %.
FLOAT_TOLERANCE: Final = 0.1
INT8_TOLERANCE: Final = 0.3
_SIDE: Final = 256
# Triangle waves per channel: x and y steps, phase. Integers give the same pixels on every machine.
_WAVES: Final = ((3, 1, 0), (1, 4, 170), (2, -3, 340))
_DECIMALS: Final = 4
# Rounding of logits whose range is close to 0.
_MIN_DIFFERENCE: Final = 1e-3


def reference_input(transform: EvaluationTransform) -> Pixels:
    """Return the reference image as a network input, uint8 (1, H, W, 3)."""
    y, x = np.mgrid[:_SIDE, :_SIDE]
    channels = [abs((a * x + b * y + phase) % 510 - 255) for a, b, phase in _WAVES]
    return transform(Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)))[None]


def make_reference(logits: Array, tolerance: float = FLOAT_TOLERANCE) -> Reference:
    """Return the reference for a file from a network's logits of `reference_input`.

    Args:
        logits: float32 (classes,).
        tolerance: Allowed difference at load, as a fraction of the logits' range.

    Raises:
        NotANumberError: A logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise NotANumberError(
            "The network's logits are not finite, so no checkpoint was written; "
            "its training diverged: train again with a lower learning rate."
        )
    return Reference(tuple(round(float(value), _DECIMALS) for value in logits), tolerance)


def check_reference(network: Backend, metadata: Metadata, path: Path) -> None:
    """Run a loaded network on the reference image and check its logits.

    Args:
        network: The network.
        metadata: Its metadata; without a reference, only finite logits are required.
        path: Its file, for messages.

    Raises:
        InferenceFailedError: The network does not run.
        NotANumberError: A logit is not finite.
        MismatchedLogitsError: A logit differs by more than the tolerance.
    """
    inputs = reference_input(metadata.transform)
    try:
        logits = network.run(inputs).logits[0]
    except Exception as error:  # each backend has its own
        raise InferenceFailedError(
            f"The network in {path} does not run on {network.device} with an input of "
            f"{'×'.join(map(str, inputs.shape))} ({type(error).__name__}); "
            "try another device, or export or train it again."
        ) from error
    if not np.isfinite(logits).all():
        raise NotANumberError(
            f"The network in {path} computes logits that are not finite: its training diverged or "
            "the file is damaged; use another checkpoint."
        )
    if metadata.reference is None:
        return
    expected = np.array(metadata.reference.logits)
    allowed = max(metadata.reference.tolerance * np.ptp(expected), _MIN_DIFFERENCE)
    difference = np.abs(logits - expected).max()
    if difference > allowed:
        raise MismatchedLogitsError(
            f"The network in {path} computes other logits than when the file was written: they "
            f"differ by {difference:.3g}, and {allowed:.3g} is allowed; the file is damaged: "
            "export or train it again."
        )
