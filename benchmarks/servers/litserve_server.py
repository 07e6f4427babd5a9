"""LitServe server with batching, as its documentation shows for image models."""

# Without `from __future__ import annotations`, because LitServe inspects the request's type.
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from fastapi import Request
from PIL import Image

from model.classifier import Classifier


class Flowers(litserve.LitAPI):
    """LitServe API of the classifier."""

    def setup(self, device: str) -> None:
        """Load the model once per worker."""
        self.classifier = Classifier.load(Path(os.environ["BENCHMARK_CHECKPOINT"]), "cpu")

    def decode_request(self, request: Request) -> Any:
        """Decode and transform a photo."""
        return self.classifier.preprocess(Image.open(request["image"].file).convert("RGB"))

    def batch(self, inputs: list[Any]) -> Any:
        """Stack transformed photos."""
        return np.stack(inputs)

    def predict(self, batch: Any) -> Any:
        """Run the model on uint8 (N, H, W, 3)."""
        return self.classifier.logits(batch)

    def unbatch(self, output: Any) -> list[Any]:
        """Split the logits by photo."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the classification result."""
        return asdict(self.classifier.result(output))


if __name__ == "__main__":
    api = Flowers(max_batch_size=16, batch_timeout=0.005)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60).run(
        port=int(os.environ["BENCHMARK_PORT"]), log_level="warning", generate_client_file=False
    )
