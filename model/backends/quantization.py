"""8-bit quantization of ONNX files with NNCF: smaller, and faster on a CPU.

Sample photos determine the ranges of the activations. NNCF edits the ONNX graph in place: inputs,
outputs and metadata stay the same, and any ONNX runtime reads the result.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import onnx

from model.atomic_write import atomic_write
from model.backends.base import Pixels
from model.backends.onnx_export import INPUT, write_metadata
from model.backends.openvino_backend import load_onnx
from model.backends.reference import INT8_TOLERANCE, make_reference, reference_input
from model.errors import PetalscopeError

_FLOAT_SHARE: Final = 10  # one convolution in this many stays in float32, from the input on


class QuantizationError(PetalscopeError):
    """An environment in which no model can be quantized."""


def quantize(source: Path, photos: Sequence[Pixels], path: Path) -> None:
    """Quantize an ONNX file to 8 bits and write it atomically, with its own reference logits.

    Args:
        source: File of `onnx_export.export`.
        photos: Network inputs that set the ranges of the activations, each uint8 (1, H, W, 3);
            a few hundred training photos.
        path: File to write; missing folders are created.

    Raises:
        QuantizationError: A required package is not installed.
        OSError: The file cannot be written.
    """
    try:
        quantized = _quantized(onnx.load(str(source)), photos)
    except ModuleNotFoundError as error:
        raise QuantizationError(
            f"Quantization needs the package {error.name}, which is not installed: install "
            "requirements-train.txt."
        ) from error
    onnx.checker.check_model(quantized)
    with atomic_write(path) as temporary:
        onnx.save(quantized, str(temporary))
        network, metadata = load_onnx(temporary, "cpu")
        logits = network.run(reference_input(metadata.transform)).logits[0]
        reference = make_reference(logits, INT8_TOLERANCE)
        write_metadata(temporary, replace(metadata, reference=reference))


def _quantized(plain: onnx.ModelProto, photos: Sequence[Pixels]) -> Any:
    # Imported late: it takes seconds, and a float32 export does not need it. It must come after
    # `openvino_backend`, which disables OpenVINO's telemetry.
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    inputs = nncf.Dataset([{INPUT: photo} for photo in photos])
    # Rounding the residual sums and the first layers changes the logits most.
    convolutions = [node.name for node in plain.graph.node if node.op_type == "Conv"]
    sensitive = nncf.IgnoredScope(
        names=convolutions[: len(convolutions) // _FLOAT_SHARE], types=["Add"], validate=False
    )
    # A histogram ignores single outliers, which stretch the range between minimum and maximum.
    ranges = AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.HISTOGRAM
    )
    # NNCF prints progress bars to stdout, which is for results.
    with redirect_stdout(sys.stderr):
        return nncf.quantize(
            plain,
            inputs,
            subset_size=len(photos),
            ignored_scope=sensitive,
            advanced_parameters=ranges,
        )
