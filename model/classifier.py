"""The classifier: images to ranked class names and a verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from model import has_pytorch
from model.backends.base import Array, Backend, Batch, DeviceError, Outputs, Pixels
from model.backends.reference import check_reference
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import Metadata, MissingPyTorchError, check_file
from model.control_groups import quota_threads
from model.ood import Verdict, verdict

_DIGEST_LENGTH: Final = 12


@dataclass(frozen=True)
class Prediction(FlowerClass):
    """One class and its probability, in [0, 1]."""

    probability: float


@dataclass(frozen=True)
class OodResult:
    """Outcome of the out-of-distribution check of one photo, or of several combined.

    Attributes:
        score: OOD score; higher looks more like one of the classes.
        threshold: Lowest score of a known photo.
        is_known: True if the score reaches the threshold.
    """

    score: float
    threshold: float
    is_known: bool


@dataclass(frozen=True)
class ClassificationResult:
    """Classification of one photo, or of several photos of one plant.

    Attributes:
        predictions: Top-k classes, most probable first.
        verdict: "unchecked" without an OOD rule; "unknown" below the threshold; "unsure" if the
            top probability is below the rule's `known_probability`; otherwise "known".
        ood: Out-of-distribution check; None without an OOD rule.
    """

    predictions: list[Prediction]
    verdict: Verdict
    ood: OodResult | None


class Classifier:
    """A network with its transform, temperature and class names.

    It is immutable, so threads can share it without a lock.

    Attributes:
        network: The network on its backend.
        metadata: Metadata of its file.
        version: First 12 hexadecimal digits of the file's SHA-256; empty if not loaded from a file.
    """

    def __init__(self, network: Backend, metadata: Metadata, version: str = "") -> None:
        self.network = network
        self.metadata = metadata
        self.version = version

    @classmethod
    def load(
        cls,
        path: Path,
        device: str = "auto",
        threads: int = 0,
        *,
        nice: int = 0,
        compiled: bool = False,
    ) -> Classifier:
        """Load a checkpoint.

        Args:
            path: The checkpoint: .safetensors for PyTorch, .onnx for OpenVINO.
            device: "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:1"; an .onnx file runs
                only on the CPU.
            threads: Number of threads of the network on a CPU; 0 for those of the CPU quota, or
                the library's default without a quota.
            nice: Nice value added to OpenVINO's threads, 0 to 19; Linux only.
            compiled: Compile the network with `torch.compile`; OpenVINO always compiles.

        Raises:
            CheckpointError: The file cannot be used, or its network computes other logits than
                the reference in it.
            DeviceError: The device is unknown, not present, or needs PyTorch, which is missing.
            CompilerError: `compiled`, and there is no compiler.
        """
        network, metadata = _load(path, device, threads or quota_threads(), nice, compiled)
        check_reference(network, metadata, path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(network, metadata, digest[:_DIGEST_LENGTH])

    def preprocess(self, image: Image.Image) -> Pixels:
        """Transform one upright RGB image to a network input, uint8 (H, W, 3)."""
        return self.metadata.transform(image)

    def logits(self, batch: Pixels) -> Array:
        """Return the logits of a batch.

        Args:
            batch: uint8 (N, H, W, 3).

        Returns:
            float32 (N, classes), not divided by the temperature.
        """
        return self.network.run(batch).logits

    def outputs(self, batch: Batch) -> Iterator[Outputs]:
        """Run the network on one or more images; yield the outputs of each, see `Backend`."""
        return self.network.run_each(batch)

    def probabilities(self, batch: Pixels) -> Array:
        """Return the calibrated probabilities of a batch.

        Args:
            batch: uint8 (N, H, W, 3).

        Returns:
            float32 (N, classes); each row sums to 1.
        """
        return self.calibrated(self.logits(batch))

    def calibrated(self, logits: Array) -> Array:
        """Convert logits to probabilities by temperature scaling and softmax.

        Args:
            logits: float32 (…, classes).

        Returns:
            float32 of the same shape; the last axis sums to 1.
        """
        scaled = logits.astype(np.float64) / self.metadata.temperature
        exponents = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        probabilities: Array = exponents / exponents.sum(axis=-1, keepdims=True)
        return probabilities.astype(np.float32)

    def result(self, logits: Array, top_k: int = 5) -> ClassificationResult:
        """Return the classification of one photo; see `combined_result`.

        Args:
            logits: float32 (classes,).
            top_k: Number of predictions, from 1 to the number of classes.
        """
        return self.combined_result(logits[None], top_k)

    def combined_result(self, logits: Array, top_k: int = 5) -> ClassificationResult:
        """Return the classification of one plant from one or more photos.

        The probabilities are the normalized geometric mean of the photos' calibrated ones: their
        log-probabilities are averaged.

        Args:
            logits: float32 (photos, classes).
            top_k: Number of predictions, from 1 to the number of classes.

        Raises:
            ValueError: `top_k` is out of range.
        """
        # The log-probabilities of a photo are its scaled logits minus a constant, which the softmax
        # of the mean removes.
        predictions = self.rank(self.calibrated(logits.mean(axis=0)), top_k)
        best = predictions[0].probability
        rule = self.metadata.ood_rule
        if rule is None:
            return ClassificationResult(predictions, verdict(None, 0.0, best), None)
        score = float(rule.combined_scores(logits[None], self.metadata.temperature)[0])
        ood = OodResult(score, rule.threshold, score >= rule.threshold)
        return ClassificationResult(predictions, verdict(rule, score, best), ood)

    def rank(self, probabilities: Array, top_k: int = 5) -> list[Prediction]:
        """Return the most probable classes, most probable first; ties keep the class order.

        Args:
            probabilities: float32 (classes,).
            top_k: Number of predictions, from 1 to the number of classes.

        Raises:
            ValueError: `top_k` is out of range.
        """
        classes = self.metadata.classes
        if not 1 <= top_k <= len(classes):
            raise ValueError(f"top_k is {top_k}; it must be from 1 to {len(classes)}")
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        return [
            Prediction(classes[i].class_id, classes[i].name, float(probabilities[i])) for i in order
        ]

    def predict(self, images: Sequence[Image.Image], top_k: int = 5) -> list[ClassificationResult]:
        """Classify upright RGB images in one batch; return one result per image.

        Args:
            images: Images of any size.
            top_k: Number of predictions, from 1 to the number of classes.

        Raises:
            ValueError: `top_k` is out of range.
        """
        if not images:
            return []
        batch = np.stack([self.preprocess(image) for image in images])
        return [self.result(row, top_k) for row in self.logits(batch)]


def _load(
    path: Path, device: str, threads: int, nice: int, compiled: bool
) -> tuple[Backend, Metadata]:
    # Import only the library that the file needs: a service without a GPU has no PyTorch.
    if path.suffix == ".onnx":
        from model.backends.openvino_backend import load_onnx

        return load_onnx(path, device, threads, nice)
    if device.startswith("cuda") and not has_pytorch():
        raise DeviceError(
            f"The device {device} needs PyTorch, which is not installed: use the image built with "
            "DEVICE=cuda, or install requirements-cuda.txt."
        )
    check_file(path)
    try:
        from model.backends.torch_backend import TorchBackend, check_compiler, resolve_device
        from model.checkpoint.format import load_checkpoint
    except ModuleNotFoundError as error:
        raise MissingPyTorchError(
            f"{path.name} needs PyTorch, which is not installed: convert it to .onnx with "
            "scripts/export.py, use the image built with DEVICE=cuda, or install "
            "requirements-cuda.txt."
        ) from error
    chosen = resolve_device(device)
    if compiled:
        check_compiler(chosen)
    module, metadata = load_checkpoint(path)
    backend = TorchBackend(module, chosen, metadata.transform, threads, compiled=compiled)
    return backend, metadata
