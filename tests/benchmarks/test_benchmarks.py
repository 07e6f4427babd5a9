"""Models, request bodies and tables of the benchmarks. They themselves need wrk and idle cores."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from benchmarks import models
from benchmarks.load import Target
from benchmarks.peers import Results, Row
from benchmarks.photos import photo
from benchmarks.results_file import print_medians
from model import BUNDLED_CHECKPOINT
from model.checkpoint.format import read_metadata
from model.classifier import Classifier


def row(server: str, model: str, number: int, rate: float) -> Row:
    return Row(
        server, model, number, clients=8, rate=rate, p50=1, p95=2, p99=3, failed=0, sent=rate,
        start_s=1, rest_mib=100, load_mib=200,
    )  # fmt: skip


def test_a_generated_photo_has_the_requested_size_and_a_realistic_file_size() -> None:
    data = photo(500)
    assert Image.open(io.BytesIO(data)).size == (500, 375)
    assert 30_000 < len(data) < 200_000


@pytest.mark.parametrize("field", ["image", None])
def test_the_service_accepts_the_generated_bodies(client: FlaskClient, field: str | None) -> None:
    body, kind = Target("/predict", field).body(photo(300))
    assert client.post("/predict", data=body, content_type=kind).status_code == 200


def test_the_tiny_network_takes_the_inputs_and_classes_of_the_bundled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    classifier = Classifier.load(models.tiny_onnx(), "cpu", threads=1)
    bundled = read_metadata(BUNDLED_CHECKPOINT)
    assert classifier.metadata.transform == bundled.transform
    assert classifier.metadata.classes == bundled.classes
    images = [
        classifier.preprocess(Image.new("RGB", (400, 300), color)) for color in ("red", "blue")
    ]
    red, blue = (output.logits for output in classifier.outputs(images))
    assert red.shape == (len(bundled.classes),)
    assert np.abs(red - blue).max() > 1


def test_rates_are_compared_with_the_best_other_server_of_the_same_round() -> None:
    results = Results(
        [
            row("petalscope", "float32", 0, 90), row("mosec", "float32", 0, 100),
            row("petalscope", "int8", 0, 200), row("litserve", "float32", 0, 80),
            row("petalscope", "float32", 1, 45), row("mosec", "float32", 1, 50),
            row("petalscope", "int8", 1, 100), row("litserve", "float32", 1, 60),
            row("petalscope", "float32", 2, 99), row("mosec", "float32", 2, 90),
            row("petalscope", "int8", 2, 190), row("litserve", "float32", 2, 80),
        ]
    )  # fmt: skip
    assert results.over_best_peer("float32", "float32", 8) == pytest.approx(90 / 100)
    assert results.over_best_peer("int8", "float32", 8) == pytest.approx(200 / 100)
    assert results.median("float32", "petalscope", 8, "rate") == 90


def test_medians_have_a_column_for_each_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_medians(
        [{"model": name, "time_ms": value} for value in (3.0, 1.0, 2.0) for name in ("a", "b")],
        "model",
    )
    assert [line.split(" | ") for line in capsys.readouterr().out.splitlines()][0::2] == [
        ["| measurement", "a", "b |"],
        ["| time ms", "2.00", "2.00 |"],
    ]
