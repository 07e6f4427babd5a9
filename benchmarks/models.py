"""Models that the benchmarks serve: the bundled ones, and files in runs/benchmarks/ made from them.

float32  the bundled network as an ONNX file, so that all servers and backends run the same one
int8     the bundled ONNX file, which a CPU serves by default
pytorch  the bundled checkpoint, run by PyTorch on a CPU
tiny     a network of one pixel that takes no time, which leaves the time of the service
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from benchmarks.environments import ROOT
from model import BUNDLED_CHECKPOINT, BUNDLED_INT8
from model.atomic_write import atomic_write
from model.backends.onnx_export import INPUT, export, write_metadata
from model.backends.openvino_backend import LOGITS
from model.checkpoint.format import load_checkpoint, read_metadata

FOLDER: Final = ROOT / "runs" / "benchmarks"


def float32_onnx() -> Path:
    """Export the bundled checkpoint, unless the file is newer, and return its path."""
    path = FOLDER / "float32.onnx"
    if not _is_current(path):
        export(*load_checkpoint(BUNDLED_CHECKPOINT), path)
    return path


def tiny_onnx() -> Path:
    """Write a network with the bundled one's inputs and classes, unless the file is newer."""
    path = FOLDER / "tiny.onnx"
    if _is_current(path):
        return path
    metadata = replace(read_metadata(BUNDLED_CHECKPOINT), reference=None)
    side, classes = metadata.transform.crop, len(metadata.classes)
    weights = np.random.default_rng(0).normal(size=(3, classes)).astype(np.float32)
    helper, first_pixel = onnx.helper, ("start", "end", "axes")
    graph = helper.make_graph(
        [
            helper.make_node("Slice", [INPUT, *first_pixel], ["pixel"]),
            helper.make_node("Cast", ["pixel"], ["color"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Flatten", ["color"], ["features"]),
            helper.make_node("MatMul", ["features", "weights"], [LOGITS]),
        ],
        "tiny",
        [helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, ["n", side, side, 3])],
        [helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, ["n", classes])],
        [
            onnx.numpy_helper.from_array(weights, "weights"),
            *(
                onnx.numpy_helper.from_array(np.array(values, np.int64), name)
                for name, values in zip(first_pixel, ((0, 0), (1, 1), (1, 2)), strict=True)
            ),
        ],
    )
    with atomic_write(path) as temporary:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        onnx.checker.check_model(model)
        onnx.save(model, str(temporary))
        write_metadata(temporary, metadata)
    return path


def _is_current(path: Path) -> bool:
    return path.exists() and path.stat().st_mtime >= BUNDLED_CHECKPOINT.stat().st_mtime


MODELS: Final[Mapping[str, Callable[[], Path]]] = {
    "float32": float32_onnx,
    "int8": lambda: BUNDLED_INT8,
    "pytorch": lambda: BUNDLED_CHECKPOINT,
    "tiny": tiny_onnx,
}
