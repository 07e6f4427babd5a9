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
from typing import Any

import onnx

from model.atomic_write import atomic_write
from model.backends.base import Array
from model.backends.onnx_export import INPUT, write_metadata
from model.backends.openvino_backend import load_onnx
from model.backends.reference import INT8_TOLERANCE, make_reference, reference_input
from model.errors import PetalscopeError


class QuantizationError(PetalscopeError):
    """Nothing can be quantized here."""


def int8_path(checkpoint: Path) -> Path:
    """Return where a checkpoint's copy in 8 bits lies unless it is told otherwise: beside it."""
    return checkpoint.with_name(f"{checkpoint.stem}-int8.onnx")


def quantize(source: Path, photos: Sequence[Array], path: Path) -> None:
    """Write an ONNX file in 8 bits, atomically.

    Args:
        source: As `onnx_file.export` writes it.
        photos: What shows the ranges of the activations, each float32 (1, 3, H, W); some hundreds
            of those that the network was trained on.
        path: Where to; folders are made.

    Raises:
        QuantizationError: A package that it takes is not installed.
        OSError: The file cannot be written.
    """
    try:
        quantized = _quantized(onnx.load(str(source)), photos)
    except ModuleNotFoundError as error:
        raise QuantizationError(
            f"Quantizing takes the package {error.name}, which is not installed: install "
            "requirements-train.txt."
        ) from error
    onnx.checker.check_model(quantized)
    with atomic_write(path) as temporary:
        onnx.save(quantized, str(temporary))
        network, metadata = load_onnx(temporary, "cpu")
        logits = network.run(reference_input(metadata.transform)).logits[0]
        reference = make_reference(logits, INT8_TOLERANCE)
        write_metadata(temporary, replace(metadata, reference=reference))


def _quantized(plain: onnx.ModelProto, photos: Sequence[Array]) -> Any:
    # Imported late: it takes seconds, and a float32 export does not need it. It must come after
    # `openvino_backend`, which disables OpenVINO's telemetry.
    import nncf

    inputs = nncf.Dataset([{INPUT: photo} for photo in photos])
    # Bars of progress, which stand beside those of tqdm; stdout is for results.
    with redirect_stdout(sys.stderr):
        return nncf.quantize(plain, inputs, subset_size=len(photos))
