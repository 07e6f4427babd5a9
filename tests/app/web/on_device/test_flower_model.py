"""The whole model on ONNX Runtime Web in Node, compared with the service's classifier."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from model.backends.onnx_export import write_metadata
from model.backends.openvino_backend import load_onnx
from model.backends.reference import make_reference
from model.classifier import Classifier
from tests.app.web.on_device import SCRIPTS
from tests.conftest import TINY_CLASSES, flower_image
from tests.node import imported, run_in_node

pytestmark = pytest.mark.slow

RUNTIME = SCRIPTS / "onnxruntime"
IMPORTS = "\n".join(
    (
        'import { readFileSync } from "node:fs";',
        'import { gunzipSync } from "node:zlib";',
        f"import * as runtime from {json.dumps((RUNTIME / 'ort.wasm.bundle.min.mjs').as_uri())};",
        imported("FlowerModel", SCRIPTS / "flower_model.js"),
        f"const wasm = {json.dumps(str(RUNTIME / 'ort-wasm-simd-threaded.wasm.gz'))};",
        "runtime.env.wasm.wasmBinary = gunzipSync(readFileSync(wasm));",
        "const load = (path) => FlowerModel.load({ runtime, model: readFileSync(path) });",
        "const caught = (promise) => promise.then(() => null, (error) => error.code);",
    )
)


def pixels(image: Image.Image) -> str:
    """Return JavaScript that makes the pixels of an image."""
    data = json.dumps(list(image.convert("RGBA").tobytes()))
    width, height = image.size
    return f"{{ width: {width}, height: {height}, data: Uint8ClampedArray.from({data}) }}"


def test_photos_get_the_result_of_the_service(tiny_onnx: Path) -> None:
    images = [flower_image((160, 120), seed) for seed in range(4)]
    got = run_in_node(
        IMPORTS,
        f"const model = await load({json.dumps(str(tiny_onnx))});"
        "const results = [];"
        f"for (const photo of [{', '.join(map(pixels, images))}])"
        " results.push(await model.classify(photo, { topK: 6 }));"
        "await model.release();"
        "return [results, model.explains, model.metadata.temperature];",
    )
    results, explains, temperature = got
    classifier = Classifier.load(tiny_onnx)
    assert explains
    assert temperature == classifier.metadata.temperature
    for result, expected in zip(results, classifier.predict(images, 6), strict=True):
        names = [item["name"] for item in result["predictions"]]
        assert names == [item.name for item in expected.predictions]
        assert [item["probability"] for item in result["predictions"]] == pytest.approx(
            [item.probability for item in expected.predictions], abs=2e-3
        )
        assert result["verdict"] == expected.verdict
        assert result["ood"] is None


def test_the_runtime_knows_the_size_of_the_batch(tiny_onnx: Path) -> None:
    options = run_in_node(
        IMPORTS,
        "let options;"
        "const create = (bytes, given) => {"
        "    options = given;"
        "    return runtime.InferenceSession.create(bytes, given);"
        "};"
        f"const model = readFileSync({json.dumps(str(tiny_onnx))});"
        "await FlowerModel.load({ runtime: { ...runtime, InferenceSession: { create } }, model });"
        "return options;",
    )
    (images,) = onnx.load(tiny_onnx).graph.input
    batch, *_ = images.type.tensor_type.shape.dim
    assert options["freeDimensionOverrides"] == {batch.dim_param: 1}


def test_other_numbers_of_predictions_are_refused(tiny_onnx: Path) -> None:
    photo = pixels(flower_image((20, 20)))
    codes = run_in_node(
        IMPORTS,
        f"const model = await load({json.dumps(str(tiny_onnx))});"
        'return Promise.all([0, 7, 2.5, "3", NaN]'
        f".map((topK) => caught(model.classify({photo}, {{ topK }}))));",
    )
    assert codes == ["invalid_parameter"] * 5


def test_a_model_without_maps_refuses_to_explain(tiny_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(str(tiny_onnx))
    del model.graph.output[1:]
    onnx.save(model, str(tmp_path / "plain.onnx"))
    photo = pixels(flower_image((20, 20)))
    code = run_in_node(
        IMPORTS,
        f"const model = await load({json.dumps(str(tmp_path / 'plain.onnx'))});"
        f"return caught(model.classify({photo}, {{ activationMap: true }}));",
    )
    assert code == "explain_unsupported"


def load_code(path: Path) -> Any:
    return run_in_node(IMPORTS, f"return caught(load({json.dumps(str(path))}));")


def test_a_model_with_other_weights_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(tiny_onnx.read_bytes())
    _, metadata = load_onnx(path, "cpu")
    other = make_reference(np.arange(len(TINY_CLASSES), dtype=np.float32) * 7)
    write_metadata(path, replace(metadata, reference=other))
    assert load_code(path) == "invalid_model"


def test_a_damaged_graph_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(str(tiny_onnx))
    model.graph.node[0].op_type = "NoSuchOperator"
    path = tmp_path / "damaged.onnx"
    onnx.save(model, str(path))
    assert load_code(path) == "runtime_failed"
