"""Mosec server as in its example for image models: decoding workers, one inference worker."""

from __future__ import annotations

import io
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from mosec import Server, Worker
from PIL import Image

from model.classifier import Classifier


class Preprocess(Worker):
    """Worker that decodes and transforms a photo."""

    def __init__(self) -> None:
        self.classifier = Classifier.load(Path(os.environ["BENCHMARK_CHECKPOINT"]), "cpu")

    def deserialize(self, data: bytes) -> Any:
        """Return the body unchanged."""
        return data

    def forward(self, data: bytes) -> Any:
        """Return uint8 (H, W, 3)."""
        return self.classifier.preprocess(Image.open(io.BytesIO(data)).convert("RGB"))


class Inference(Worker):
    """Worker that runs the model on batches."""

    def __init__(self) -> None:
        self.classifier = Classifier.load(Path(os.environ["BENCHMARK_CHECKPOINT"]), "cpu")

    def forward(self, data: list[Any]) -> list[Any]:
        """Classify each photo of a batch."""
        logits = self.classifier.logits(np.stack(data))
        return [asdict(self.classifier.result(row)) for row in logits]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Preprocess, num=2)
    server.append_worker(Inference, num=1, max_batch_size=16)
    server.run()
