r"""What 8-bit weights and activations would give: the bundled model, quantized by NNCF.

    photos of train -> quantized copy, in memory -> photos of valid: top-1 and time, in turn

python -m benchmarks.quantized --data data/oxford102   # pip install "nncf>=3.4,<4" first
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model import BUNDLED_CHECKPOINT
from model.classifier import Classifier
from model.images import decode_image

Array = npt.NDArray[np.float32]
_CHECKPOINT: Final = BUNDLED_CHECKPOINT.with_suffix(".onnx")


def inputs(classifier: Classifier, paths: list[Path]) -> list[Array]:
    """Return what the network sees of photos, each float32 (1, 3, H, W)."""
    side = classifier.metadata.transform.resize
    return [classifier.preprocess(decode_image(path, target_side=side))[None] for path in paths]


def compiled(network: Any) -> Callable[[Array], Array]:
    """Return what runs a model on one photo, on one thread."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(network, "CPU", options).create_infer_request()

    def run(image: Array) -> Array:
        request.infer({0: image})
        logits: Array = request.get_tensor("logits").data[0].copy()
        return logits

    return run


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure the bundled model in 8 bits.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and valid/")
    parser.add_argument("--calibration", type=int, default=300, help="photos of train")
    options = parser.parse_args()
    classifier = Classifier.load(_CHECKPOINT, "cpu", 1)
    # After the model's own module, which keeps OpenVINO from reporting to Google.
    import nncf
    import openvino

    train = sorted((options.data / "train").glob("*/*"))
    valid = sorted((options.data / "valid").glob("*/*"))
    calibration = inputs(classifier, random.Random(0).sample(train, options.calibration))  # noqa: S311
    network = openvino.Core().read_model(_CHECKPOINT)
    network.reshape(list(calibration[0].shape))
    quantized = nncf.quantize(network, nncf.Dataset(calibration), subset_size=len(calibration))
    runs = {"float32": compiled(network), "int8": compiled(quantized)}
    ids = [item.class_id for item in classifier.metadata.classes]
    right = dict.fromkeys(runs, 0)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for path in valid:
        (image,) = inputs(classifier, [path])
        for name, run in runs.items():
            begun = time.process_time()
            logits = run(image)
            seconds[name].append(time.process_time() - begun)
            right[name] += ids[int(logits.argmax())] == path.parent.name
    plain = statistics.median(seconds["float32"])
    print("| model | top-1 | a photo, of float32's time |\n| --- | --- | --- |")
    for name in runs:
        ratio = statistics.median(seconds[name]) / plain
        print(f"| {name} | {right[name] / len(valid):.2%} of {len(valid)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
