"""A network run by OpenVINO on a CPU: more than twice as fast there as PyTorch, and without it.

FILE.onnx -> load_onnx -> metadata, compiled model -> run: each photo of a batch on its own

On a CPU a batch brings nothing over its photos one after the other, so that the model is compiled
for one photo, whose answer then does not depend on its company either.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path
from typing import Final

import numpy as np

from model.metadata import (
    METADATA_KEY,
    CheckpointNotFoundError,
    Metadata,
    MismatchedClassesError,
    NotACheckpointError,
    parse_metadata,
)
from model.network import Array, DeviceError, Outputs

# Importing OpenVINO reports to Google Analytics, writes an id of the user into the home folder, and
# fails where there is no home. Where it cannot import this package, it does none of the three.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402
from openvino.frontend import FrontEndManager, GeneralFailure  # noqa: E402

LOGITS: Final = "logits"
ACTIVATIONS: Final = "activations"

_OPTIONS: Final = {
    "PERFORMANCE_HINT": "LATENCY",
    # Some CPUs would be run in bfloat16, and answers differ from one machine to the other.
    "INFERENCE_PRECISION_HINT": "f32",
}


class OpenVinoNetwork:
    """A model that takes images N×3×H×W and gives logits, and class activation maps if it can.

    Args:
        model: As OpenVINO read it.
        side: Side in pixels of an input.
        threads: Number of threads; 0 for one a core.
    """

    def __init__(self, model: openvino.Model, side: int, threads: int = 0) -> None:
        model.reshape([1, 3, side, side])
        options = {**_OPTIONS, "INFERENCE_NUM_THREADS": threads}
        self._compiled = openvino.Core().compile_model(model, "CPU", options)
        self._outputs = {name for output in model.outputs for name in output.names}
        self._of_thread = threading.local()

    @property
    def device(self) -> str:
        """Where it runs: "cpu"."""
        return "cpu"

    @property
    def threads(self) -> int:
        """Number of threads that it runs on."""
        return int(self._compiled.get_property("INFERENCE_NUM_THREADS"))

    @property
    def max_batch(self) -> int | None:
        """One: each photo is run on its own in any case, and so is answered once it is done."""
        return 1

    @property
    def out_of_memory(self) -> tuple[type[BaseException], ...]:
        """What `run` raises where a batch is too large; photos are run one by one."""
        return (MemoryError,)

    def batch_sizes(self, max_batch: int) -> list[int]:
        """One alone: see `max_batch`."""
        return [1]

    def run(self, batch: Array) -> Outputs:
        """Run on float32 (N, 3, H, W)."""
        results = [self._run_one(image[None]) for image in batch]
        logits, maps = zip(*results, strict=True)
        has_maps = ACTIVATIONS in self._outputs
        return Outputs(np.concatenate(logits), np.concatenate(maps) if has_maps else None)

    def _run_one(self, image: Array) -> tuple[Array, Array | None]:
        request = self._request()
        request.infer({0: np.ascontiguousarray(image)})
        # Copies: the request's own memory is written again by its next run.
        logits = request.get_tensor(LOGITS).data.copy()
        if ACTIVATIONS not in self._outputs:
            return logits, None
        return logits, request.get_tensor(ACTIVATIONS).data.copy()

    def _request(self) -> openvino.InferRequest:
        """Return this thread's request; one alone cannot serve two threads at once."""
        try:
            request: openvino.InferRequest = self._of_thread.request
        except AttributeError:
            request = self._of_thread.request = self._compiled.create_infer_request()
        return request


def load_onnx(path: Path, device: str, threads: int = 0) -> tuple[OpenVinoNetwork, Metadata]:
    """Load a model that `onnx_file.export` wrote.

    Args:
        path: The file.
        device: "auto" or "cpu".
        threads: Number of threads; 0 for one a core.

    Raises:
        CheckpointError: The file cannot be used.
        DeviceError: Another device was asked for.
    """
    if device not in ("auto", "cpu"):
        known = re.fullmatch("cuda(?::[0-9]+)?", device)
        advice = "it is the .safetensors file that runs on CUDA" if known else "give auto or cpu"
        raise DeviceError(f"An .onnx file runs on the CPU, and not on {device}; {advice}.")
    if not path.is_file():
        raise CheckpointNotFoundError(f"There is no checkpoint at {path}.")
    if not os.access(path, os.R_OK):
        raise CheckpointNotFoundError(f"{path} cannot be read: permission denied.")
    try:
        # By the reader of ONNX alone: others would try a damaged file too, and say so on stderr.
        reader = FrontEndManager().load_by_framework("onnx")
        model = reader.convert(reader.load(str(path)))
        text: str = model.get_rt_info(["framework", METADATA_KEY]).astype(str)
    except (GeneralFailure, RuntimeError) as error:
        raise NotACheckpointError(
            f"{path} is not an ONNX model with Petalscope's metadata, such as scripts/export.py "
            "writes, or it is damaged."
        ) from error
    metadata = parse_metadata(text, path)
    try:
        network = OpenVinoNetwork(model, metadata.transform.crop, threads)
        shape = list(model.output(LOGITS).shape)
    except RuntimeError as error:
        raise NotACheckpointError(
            f"The model in {path} does not take or give what its metadata say."
        ) from error
    classes = len(metadata.classes)
    if shape != [1, classes]:
        raise MismatchedClassesError(
            f"{path} names {classes} classes, for logits of shape {'×'.join(map(str, shape))}."
        )
    return network, metadata
