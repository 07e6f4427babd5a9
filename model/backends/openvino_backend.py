"""A CPU backend that runs ONNX files with OpenVINO, over twice as fast as PyTorch.

Batching brings no speedup on a CPU, so the model is compiled for single photos. Small batches run
one photo at a time on all cores; larger ones run one photo per core, which avoids synchronisation
at each layer. Both ways give identical outputs.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from model.backends.base import Array, DeviceError, Outputs
from model.checkpoint.metadata import (
    METADATA_KEY,
    CheckpointNotFoundError,
    Metadata,
    MismatchedClassesError,
    NotACheckpointError,
    parse_metadata,
)

# Importing OpenVINO reports to Google Analytics, writes an id of the user into the home folder, and
# fails where there is no home. Where it cannot import this package, it does none of the three.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402
from openvino.frontend import (  # noqa: E402
    FrontEndManager,
    GeneralFailure,
    InitializationFailure,
    NotImplementedFailure,
    OpConversionFailure,
    OpValidationFailure,
)

LOGITS: Final = "logits"
ACTIVATIONS: Final = "activations"

# Raised for damaged files and unknown operators; they share no base class but Exception.
_READ_FAILURES: Final = (
    GeneralFailure,
    InitializationFailure,
    NotImplementedFailure,
    OpConversionFailure,
    OpValidationFailure,
    RuntimeError,
)

_OPTIONS: Final = {
    # Some CPUs would be run in bfloat16, and answers differ from one machine to the other.
    "INFERENCE_PRECISION_HINT": "f32",
}
# Each stream has a photo's activations in memory; with more cores than these, some share one.
_MOST_STREAMS: Final = 8
# With one for each core, cores would wait at its end for the others and for the next batch.
_PHOTOS_A_STREAM: Final = 4


_Result = tuple[Array, Array | None]


class _Requests(NamedTuple):
    alone: openvino.InferRequest
    together: openvino.AsyncInferQueue


class OpenVinoBackend:
    """A model that takes images N×3×H×W and gives logits, and class activation maps if it can.

    Args:
        model: As OpenVINO read it.
        side: Side in pixels of an input.
        threads: Number of threads; 0 for one a core.
        nice: How far they stand back behind other threads that want the cores, 0 to 19 as nice(1)
            counts it; on Linux alone.
    """

    def __init__(self, model: openvino.Model, side: int, threads: int = 0, nice: int = 0) -> None:
        model.reshape([1, 3, side, side])
        # Threads are as nice as the one that starts them, which compiling does.
        with ThreadPoolExecutor(1, initializer=_stand_back, initargs=(nice,)) as starter:
            self._alone, self._together = starter.submit(_compiled, model, threads).result()
        self._streams = min(self.threads, _MOST_STREAMS)
        self._outputs = {name for output in model.outputs for name in output.names}
        self._of_thread = threading.local()

    @property
    def device(self) -> str:
        """The device: "cpu"."""
        return "cpu"

    @property
    def threads(self) -> int:
        """Number of threads that it runs on."""
        return int(self._alone.get_property("INFERENCE_NUM_THREADS"))

    @property
    def max_batch_size(self) -> int | None:
        """A few for each core; more would only be answered later."""
        return _PHOTOS_A_STREAM * self._streams if self._streams > 1 else 1

    @property
    def out_of_memory(self) -> tuple[type[BaseException], ...]:
        """Exceptions that `run` raises if a batch does not fit into memory."""
        return (MemoryError,)

    def batch_sizes(self, max_batch_size: int) -> list[int]:
        """One photo alone, and as many as run side by side."""
        return sorted({1, min(self._streams, max_batch_size)})

    def run(self, batch: Array) -> Outputs:
        """Run on float32 (N, 3, H, W)."""
        results = self._run_each(batch) if len(batch) < self._streams else self._run_all(batch)
        logits, maps = zip(*results, strict=True)
        return Outputs(
            np.concatenate(logits), np.concatenate(maps) if ACTIVATIONS in self._outputs else None
        )

    def _run_each(self, batch: Array) -> list[_Result]:
        request = self._requests().alone
        results = []
        for image in batch:
            request.infer({0: np.ascontiguousarray(image[None])})
            results.append(self._copied(request))
        return results

    def _run_all(self, batch: Array) -> list[_Result]:
        queue = self._requests().together
        results: dict[int, _Result] = {}

        def keep(request: openvino.InferRequest, index: int) -> None:
            results[index] = self._copied(request)

        queue.set_callback(keep)
        for index, image in enumerate(batch):
            queue.start_async({0: np.ascontiguousarray(image[None])}, index)
        queue.wait_all()
        return [results[index] for index in range(len(batch))]

    def _copied(self, request: openvino.InferRequest) -> _Result:
        # The request's own memory is written again by its next run.
        logits = request.get_tensor(LOGITS).data.copy()
        if ACTIVATIONS not in self._outputs:
            return logits, None
        return logits, request.get_tensor(ACTIVATIONS).data.copy()

    def _requests(self) -> _Requests:
        """Return this thread's requests; the same cannot serve two threads at once."""
        try:
            requests: _Requests = self._of_thread.requests
        except AttributeError:
            requests = self._of_thread.requests = _Requests(
                self._alone.create_infer_request(),
                openvino.AsyncInferQueue(self._together, self._streams),
            )
        return requests


def _stand_back(nice: int) -> None:
    """Make this thread, and those that it starts, so much nicer than they would be."""
    if nice and sys.platform == "linux":  # elsewhere it would be the whole process
        thread = threading.get_native_id()
        with suppress(OSError):  # where it is forbidden, photos are named as well
            nicest = min(19, os.getpriority(os.PRIO_PROCESS, thread) + nice)
            os.setpriority(os.PRIO_PROCESS, thread, nicest)


def _compiled(model: openvino.Model, threads: int) -> tuple[openvino.CompiledModel, ...]:
    """Compile a model for one photo on all threads, and for a photo on each of them."""
    core = openvino.Core()
    options = {**_OPTIONS, "INFERENCE_NUM_THREADS": threads}
    alone = core.compile_model(model, "CPU", {**options, "PERFORMANCE_HINT": "LATENCY"})
    threads = alone.get_property("INFERENCE_NUM_THREADS")
    if threads == 1:
        return alone, alone
    options |= {"NUM_STREAMS": min(threads, _MOST_STREAMS), "INFERENCE_NUM_THREADS": threads}
    return alone, core.compile_model(model, "CPU", options)


def load_onnx(
    path: Path, device: str, threads: int = 0, nice: int = 0
) -> tuple[OpenVinoBackend, Metadata]:
    """Load a model that `onnx_file.export` wrote.

    Args:
        path: The file.
        device: "auto" or "cpu".
        threads: Number of threads; 0 for one a core.
        nice: See `OpenVinoBackend`.

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
    except _READ_FAILURES as error:
        raise NotACheckpointError(
            f"{path} is damaged, has unknown operators or lacks Petalscope's metadata; write it "
            "again with scripts/export.py."
        ) from error
    metadata = parse_metadata(text, path)
    try:
        network = OpenVinoBackend(model, metadata.transform.crop, threads, nice)
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
