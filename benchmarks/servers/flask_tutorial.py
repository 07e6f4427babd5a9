"""Flask server as in the PyTorch tutorial: one route, one photo at a time."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flask import Flask, request
from PIL import Image

from model.classifier import Classifier

app = Flask(__name__)
classifier = Classifier.load(Path(os.environ["BENCHMARK_CHECKPOINT"]), "cpu")


@app.post("/predict")
def predict() -> dict[str, Any]:
    """Classify one photo."""
    image = Image.open(request.files["image"].stream).convert("RGB")
    return asdict(classifier.predict([image])[0])


if __name__ == "__main__":
    app.run(port=int(os.environ["BENCHMARK_PORT"]), threaded=True)
