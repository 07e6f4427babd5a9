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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from model.backends.base import Batch, DeviceError, Outputs
from model.checkpoint.metadata import (
    METADATA_KEY,
    Metadata,
    MismatchedClassesError,
    NotACheckpointError,
    NotANumberError,
    check_file,
    parse_metadata,
)

# Importing OpenVINO reports to Google Analytics, writes a user id into the home folder, and fails
# without a home folder. Without this package it does none of the three.
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

# Raised for damaged files and unknown operators; their only common base class is Exception.
_READ_FAILURES: Final = (
    GeneralFailure,
    InitializationFailure,
    NotImplementedFailure,
    OpConversionFailure,
    OpValidationFailure,
    RuntimeError,
    UnicodeDecodeError,  # of a name or text in a damaged file
)

_OPTIONS: Final = {
    # The default is bfloat16 on some CPUs, so results would depend on the machine.
    "INFERENCE_PRECISION_HINT": "f32",
    # By default each thread stays on one core: it waits there while a request uses that core, and
    # all containers of a machine use the same first cores.
    "ENABLE_CPU_PINNING": False,
}
# Each stream keeps one photo's activations in memory. With more cores, several share a stream.
_MAX_STREAMS: Final = 8
# With one photo per stream, a stream that finishes first idles until the next batch.
_PHOTOS_PER_STREAM: Final = 4
# Requests of a thread that run or wait for a stream. Each keeps the tensors of one photo.
_MAX_REQUESTS: Final = _PHOTOS_PER_STREAM * _MAX_STREAMS


class _Requests(NamedTuple):
    """Inference requests of one thread.

    Attributes:
        single: Runs one photo on all cores.
        parallel: Each runs one photo on one stream; created as batches need them.
    """

    single: openvino.InferRequest
    parallel: list[openvino.InferRequest]


class OpenVinoBackend:
    """An OpenVINO model with the output "logits" and, optionally, "activations".

    Args:
        model: The model as read; it is reshaped in place to single photos.
        side: Side of an input, in pixels.
        threads: Number of threads; 0 for one per core.
        nice: Nice value added to the threads, 0 to 19; Linux only.
    """

    def __init__(self, model: openvino.Model, side: int, threads: int = 0, nice: int = 0) -> None:
        model.reshape([1, side, side, 3])
        # Compiling starts OpenVINO's threads, which inherit the nice value of this one.
        with ThreadPoolExecutor(1, initializer=_add_nice, initargs=(nice,)) as starter:
            self._single, self._parallel = starter.submit(_compiled, model, threads).result()
        self._streams = min(self.threads, _MAX_STREAMS)
        self._has_maps = any(ACTIVATIONS in output.names for output in model.outputs)
        self._of_thread = threading.local()

    @property
    def name(self) -> str:
        """Name of the library."""
        return "openvino"

    @property
    def device(self) -> str:
        """Name of the device: "cpu"."""
        return "cpu"

    @property
    def threads(self) -> int:
        """Number of inference threads."""
        return int(self._single.get_property("INFERENCE_NUM_THREADS"))

    @property
    def max_batch_size(self) -> int | None:
        """Four photos per stream: larger batches only delay the first results."""
        return _PHOTOS_PER_STREAM * self._streams if self._streams > 1 else 1

    @property
    def out_of_memory(self) -> tuple[type[BaseException], ...]:
        """Exceptions that `run` raises if a batch does not fit in memory."""
        return (MemoryError,)

    def batch_sizes(self, max_batch_size: int) -> list[int]:
        """Return the sizes of the two code paths: one photo, and one photo per stream."""
        return sorted({1, min(self._streams, max_batch_size)})

    def run(self, batch: Batch) -> Outputs:
        """Run the network on one or more images."""
        logits, maps = zip(*self.run_each(batch), strict=True)
        return Outputs(np.stack(logits), np.stack(maps) if self._has_maps else None)

    def run_each(self, batch: Batch) -> Iterator[Outputs]:
        """Run the network on one or more images; yield the outputs of each once they are known."""
        if len(batch) < self._streams:
            return self._run_single(batch)
        return self._run_parallel(batch)

    def _run_single(self, batch: Batch) -> Iterator[Outputs]:
        request = self._requests().single
        for image in batch:
            # Without `share_outputs`, OpenVINO copies them as well.
            request.infer(np.ascontiguousarray(image[None]), share_inputs=True, share_outputs=True)
            yield self._copied(request)

    def _run_parallel(self, batch: Batch) -> Iterator[Outputs]:
        requests = self._requests().parallel
        while len(requests) < min(len(batch), _MAX_REQUESTS):
            requests.append(self._parallel.create_infer_request())
        try:
            for start in range(0, len(batch), _MAX_REQUESTS):
                part = list(zip(requests, batch[start:], strict=False))
                for request, image in part:
                    request.start_async(np.ascontiguousarray(image[None]), share_inputs=True)
                # They end in about this order. A callback would hold the GIL on OpenVINO's
                # threads, whose priority is low.
                for request, _ in part:
                    request.wait()
                    yield self._copied(request)
        except BaseException:
            # A request that still runs could not be started again.
            for request in requests:
                with suppress(Exception):
                    request.wait()
            raise

    def _copied(self, request: openvino.InferRequest) -> Outputs:
        # The next run overwrites the request's tensors.
        logits = request.get_tensor(LOGITS).data[0].copy()
        maps = request.get_tensor(ACTIVATIONS).data[0].copy() if self._has_maps else None
        return Outputs(logits, maps)

    def _requests(self) -> _Requests:
        """Return this thread's requests; a request cannot serve two threads at once."""
        try:
            requests: _Requests = self._of_thread.requests
        except AttributeError:
            requests = self._of_thread.requests = _Requests(self._single.create_infer_request(), [])
        return requests


def _add_nice(nice: int) -> None:
    """Add to the nice value of this thread and of the threads that it starts."""
    if nice and sys.platform == "linux":  # other systems have one value per process
        thread = threading.get_native_id()
        with suppress(OSError):  # sandboxes may forbid it; inference works without
            nicest = min(19, os.getpriority(os.PRIO_PROCESS, thread) + nice)
            os.setpriority(os.PRIO_PROCESS, thread, nicest)


def _compiled(model: openvino.Model, threads: int) -> tuple[openvino.CompiledModel, ...]:
    """Return the model compiled twice: one photo on all threads, and one photo per stream."""
    core = openvino.Core()
    options = {**_OPTIONS, "INFERENCE_NUM_THREADS": threads}
    single = core.compile_model(model, "CPU", {**options, "PERFORMANCE_HINT": "LATENCY"})
    threads = single.get_property("INFERENCE_NUM_THREADS")
    if threads == 1:
        return single, single
    options |= {"NUM_STREAMS": min(threads, _MAX_STREAMS), "INFERENCE_NUM_THREADS": threads}
    return single, core.compile_model(model, "CPU", options)


def _check_weights(model: openvino.Model, path: Path) -> None:
    """Check that all constants are finite: activations such as ReLU6 turn NaN into a number."""
    for op in model.get_ops():
        is_weight = op.get_type_name() == "Constant" and op.get_element_type().is_real()
        if is_weight and not np.isfinite(op.get_data()).all():
            raise NotANumberError(
                f"{op.get_friendly_name()} in {path} holds values that are infinite or not "
                "numbers; the training that wrote it diverged, or the file is damaged."
            )


def load_onnx(
    path: Path, device: str, threads: int = 0, nice: int = 0
) -> tuple[OpenVinoBackend, Metadata]:
    """Load a file of `onnx_export.export` or `quantization.quantize`.

    Args:
        path: The file.
        device: "auto" or "cpu".
        threads: Number of threads; 0 for one per core.
        nice: Nice value added to the threads, 0 to 19; Linux only.

    Raises:
        CheckpointError: The file cannot be used.
        DeviceError: `device` is not the CPU.
    """
    if device not in ("auto", "cpu"):
        known = re.fullmatch("cuda(?::[0-9]+)?", device)
        advice = "use the .safetensors file for CUDA" if known else "choose auto or cpu"
        raise DeviceError(f"An .onnx file runs on the CPU, not on {device}; {advice}.")
    check_file(path)
    try:
        # Only the ONNX reader: the others would also try a damaged file and print to stderr.
        reader = FrontEndManager().load_by_framework("onnx")
        model = reader.convert(reader.load(str(path)))
        text: str = model.get_rt_info(["framework", METADATA_KEY]).astype(str)
    except _READ_FAILURES as error:
        raise NotACheckpointError(
            f"{path} is damaged, has unknown operators or lacks Petalscope's metadata; export it "
            "again with scripts/export.py."
        ) from error
    metadata = parse_metadata(text, path)
    _check_weights(model, path)
    try:
        network = OpenVinoBackend(model, metadata.transform.crop, threads, nice)
        shape = list(model.output(LOGITS).shape)
    except RuntimeError as error:
        raise NotACheckpointError(
            f"The inputs or outputs of the model in {path} do not match its metadata; export it "
            "again with scripts/export.py."
        ) from error
    classes = len(metadata.classes)
    if shape != [1, classes]:
        raise MismatchedClassesError(
            f"{path} names {classes} classes for logits of shape {'×'.join(map(str, shape))}."
        )
    return network, metadata
