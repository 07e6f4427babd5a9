"""The metadata of ONNX files, read in JavaScript."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from model import bundled_checkpoint
from model.checkpoint.metadata import METADATA_KEY
from tests.app.web.on_device import SCRIPTS
from tests.node import imported, run_in_node

IMPORTS = (
    'import { readFileSync } from "node:fs";\n'
    f"{imported('readMetadata', SCRIPTS / 'onnx_metadata.js')}"
)
VALUES: dict[str, Any] = {
    "format_version": 2,
    "classes": [{"class_id": "1", "name": "pink primrose"}, {"class_id": "2", "name": "Käthe 花"}],
    "transform": {"resize": 64, "crop": 64, "interpolation": "bicubic"},
    "temperature": 1.5,
    "ood_rule": {"score": "energy", "threshold": 3, "logit_adjustment": []},
}


def read(path: Path) -> Any:
    """Return the metadata, or the code of the error."""
    call = f"readMetadata(readFileSync({json.dumps(str(path))}))"
    return run_in_node(IMPORTS, f"try {{ return {call}; }} catch (error) {{ return error.code; }}")


def onnx_file(folder: Path, properties: dict[str, str]) -> Path:
    model = onnx.ModelProto(ir_version=8, producer_name="test", model_version=2**40)
    model.graph.initializer.append(onnx.helper.make_tensor("weight", 1, [64], range(64)))
    onnx.helper.set_model_props(model, properties)
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


def test_the_metadata_of_the_bundled_checkpoint_are_read() -> None:
    path = bundled_checkpoint("cpu")
    model = onnx.load(str(path))
    (text,) = [item.value for item in model.metadata_props if item.key == METADATA_KEY]
    assert read(path) == json.loads(text)


def test_the_metadata_are_found_among_others(tmp_path: Path) -> None:
    others = {"author": "x" * 300, METADATA_KEY: json.dumps(VALUES), "empty": ""}
    assert read(onnx_file(tmp_path, others)) == VALUES


def change(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(values: dict[str, Any]) -> None:
        for name in path[:-1]:
            values = values[name]
        values[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        change("format_version", to=3),
        change("format_version", to="2"),
        change("classes", to=[]),
        change("classes", to=[{"class_id": 1, "name": "rose"}]),
        change("transform", to=None),
        change("transform", "crop", to=65),
        change("transform", "crop", to=63.5),
        change("transform", "interpolation", to="lanczos"),
        change("temperature", to=0),
        change("temperature", to="1"),
        change("ood_rule", to={}),
        change("ood_rule", "score", to="toString"),
        change("ood_rule", "threshold", to=None),
        change("ood_rule", "logit_adjustment", to=[1]),
        change("ood_rule", "logit_adjustment", to=["a", "b"]),
    ],
)
def test_metadata_that_cannot_be_used_are_refused(
    damage: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    values = json.loads(json.dumps(VALUES))
    damage(values)
    assert read(onnx_file(tmp_path, {METADATA_KEY: json.dumps(values)})) == "invalid_model"


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"'])
def test_other_texts_are_refused(text: str, tmp_path: Path) -> None:
    assert read(onnx_file(tmp_path, {METADATA_KEY: text})) == "invalid_model"


def test_other_files_are_refused(tmp_path: Path) -> None:
    whole = onnx_file(tmp_path, {METADATA_KEY: json.dumps(VALUES)}).read_bytes()
    damaged = (b"", b"\xff" * 30, b"\x0a\xff", b"<!doctype html>", whole[:-1], whole[:300])
    for data in (*damaged, onnx_file(tmp_path, {"author": "x"}).read_bytes()):
        path = tmp_path / "other.onnx"
        path.write_bytes(data)
        assert read(path) == "invalid_model"
