"""BentoML server with adaptive batching, as in its documentation."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image as PilImage

from model.classifier import Classifier


@bentoml.service(workers=1, traffic={"timeout": 60})
class Flowers:
    """Service with one model."""

    def __init__(self) -> None:
        self.classifier = Classifier.load(Path(os.environ["BENCHMARK_CHECKPOINT"]), "cpu")

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=10000)
    def predict(self, images: list[PilImage]) -> list[dict[str, Any]]:
        """Classify each photo."""
        inputs = [self.classifier.preprocess(image.convert("RGB")) for image in images]
        logits = self.classifier.logits(np.stack(inputs))
        return [asdict(self.classifier.result(row)) for row in logits]
