"""The routes /predict, /model and /labels."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from app import create_app
from app.api import parameters
from app.context import context_of
from app.inference import pipeline
from app.inference.errors import DeadlineExceededError
from app.settings import Settings
from model.backends.base import Outputs
from model.classifier import Classifier
from model.imaging.decode import decode_image
from model.imaging.formats import FORMAT_NAMES
from model.ood import OodRule
from tests.app.conftest import MakeApp, encoded, form
from tests.conftest import TINY_CLASSES
from tests.fake_checkpoint import save_fake_checkpoint
from tests.model.imaging.test_heif import heic


def test_a_form_gets_five_ranked_predictions(
    client: FlaskClient, classifier: Classifier, photo: bytes
) -> None:
    response = client.post("/predict", **form(photo))
    assert response.status_code == 200
    assert response.content_type == "application/json"
    result = response.get_json()
    assert result.keys() == {"predictions", "verdict", "ood", "model", "request_id"}
    assert result["model"] == {
        "architecture": "test_efficientnet",
        "checkpoint": "tiny.safetensors",
        "version": classifier.version,
    }
    assert result["request_id"] == response.headers["X-Request-ID"]
    expected = classifier.predict([decode_image(photo)])[0].predictions
    assert [(item["class_id"], item["name"]) for item in result["predictions"]] == [
        (item.class_id, item.name) for item in expected
    ]
    for item in result["predictions"]:
        assert item["url"].startswith(f"/flowers/{item['class_id']}-")
        flower = client.get(item["url"]).get_json()
        assert flower["scientific_name"] == item["scientific_name"]
        assert flower["display_name"] == item["display_name"]
        assert flower["toxicity"] == item["toxicity"]
        assert {"de", "es", "fr", "it", "nl", "pt", "zh"} == set(item["translations"])
        assert item["translations"] == {
            language: {"display_name": names["display_name"]}
            for language, names in flower["translations"].items()
        }
    probabilities = [item["probability"] for item in result["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities == pytest.approx([item.probability for item in expected], abs=1e-6)


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "image/x-whatever", "application/octet-stream"]
)
def test_a_raw_body_gets_the_same_result_as_a_form(
    client: FlaskClient, photo: bytes, content_type: str
) -> None:
    form_response = client.post("/predict", **form(photo)).get_json()
    body_response = client.post("/predict", data=photo, content_type=content_type).get_json()
    assert body_response["predictions"] == form_response["predictions"]


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP"])
def test_every_format_is_accepted_under_any_file_name(
    client: FlaskClient, image_format: str
) -> None:
    data = form(encoded(image_format), name="../../<img onerror=alert(1)>.exe")
    assert client.post("/predict", **data).status_code == 200


def test_browsers_get_indented_json(client: FlaskClient, photo: bytes) -> None:
    page = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    form_response = client.post("/predict", **form(photo), headers=page)
    script_response = client.post("/predict", **form(photo))
    assert form_response.content_type == script_response.content_type == "application/json"
    assert form_response.get_json()["predictions"] == script_response.get_json()["predictions"]
    assert '\n  "verdict": ' in form_response.text
    assert script_response.text.count("\n") == 1


def test_top_k_sets_the_number_of_predictions(client: FlaskClient, photo: bytes) -> None:
    for top_k in (1, 3, len(TINY_CLASSES)):
        response = client.post(f"/predict?top_k={top_k}", **form(photo))
        assert len(response.get_json()["predictions"]) == top_k
    everything = response.get_json()["predictions"]
    assert {item["class_id"] for item in everything} == {item.class_id for item in TINY_CLASSES}
    assert sum(item["probability"] for item in everything) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "top_k", ["0", "7", "103", "abc", "", "5.0", "-1", "%2B1", "1e0", "٣", "9" * 5000]
)
def test_an_invalid_top_k_is_refused(client: FlaskClient, photo: bytes, top_k: str) -> None:
    response = client.post(f"/predict?top_k={top_k}", **form(photo))
    assert response.status_code == 422
    problem = response.get_json()
    assert problem["code"] == "invalid_parameter"
    assert "top_k" in problem["detail"]
    assert len(problem["detail"]) < 200  # a long value is truncated


def test_a_repeated_top_k_is_refused(client: FlaskClient, photo: bytes) -> None:
    response = client.post("/predict?top_k=1&top_k=2", **form(photo))
    assert response.status_code == 422
    assert response.get_json()["code"] == "invalid_parameter"


def test_model_returns_the_metadata_and_the_device(
    client: FlaskClient, classifier: Classifier, tiny_checkpoint: Path
) -> None:
    model = client.get("/model").get_json()
    metadata = json.loads(classifier.metadata.to_text())
    for name in metadata.keys() & model.keys():
        assert model[name] == metadata[name]
    assert model["version"] == classifier.version
    assert model["checkpoint"] == tiny_checkpoint.name
    assert model["device"] == "cpu"


def test_labels_are_in_index_order(client: FlaskClient) -> None:
    labels = client.get("/labels").get_json()["labels"]
    assert [(item["class_id"], item["name"]) for item in labels] == [
        (item.class_id, item.name) for item in TINY_CLASSES
    ]
    assert [item["class_id"] for item in labels] == ["1", "10", "100", "2", "21", "5"]


def test_explain_adds_an_activation_map_to_each_prediction(client: FlaskClient) -> None:
    photo = encoded("PNG", (400, 200))
    plain = client.post("/predict", **form(photo)).get_json()
    explained = client.post("/predict?explain=1&top_k=3", **form(photo)).get_json()
    assert not any("activation_map" in item for item in plain["predictions"])
    assert len(explained["predictions"]) == 3
    for item in explained["predictions"]:
        head, _, data = item["activation_map"].partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.mode == "RGBA"
            assert picture.width == 2 * picture.height


@pytest.mark.parametrize("query", ["explain=2", "explain=yes", "explain=", "explain=1&explain=1"])
def test_an_invalid_explain_is_refused(client: FlaskClient, photo: bytes, query: str) -> None:
    response = client.post(f"/predict?{query}", **form(photo))
    assert response.status_code == 422
    assert response.get_json()["code"] == "invalid_parameter"


def test_a_model_without_activation_maps_refuses_explain_before_inference(
    make_app: MakeApp, photo: bytes
) -> None:
    runs = []

    def run(batch: npt.NDArray[np.uint8]) -> list[Outputs]:
        runs.append(len(batch))
        return [Outputs(np.zeros(6, np.float32), None)] * len(batch)

    client = make_app(run=run).test_client()
    assert client.post("/predict?explain=0", **form(photo)).status_code == 200
    runs.clear()
    response = client.post("/predict?explain=1", **form(photo))
    assert response.status_code == 422
    assert response.get_json()["code"] == "explain_unsupported"
    assert runs == []


def test_the_number_of_activation_maps_is_bounded(
    client: FlaskClient, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "MAX_EXPLAINED", 2)
    assert client.post("/predict?explain=1&top_k=2", **form(photo)).status_code == 200
    assert client.post("/predict?explain=0&top_k=3", **form(photo)).status_code == 200
    response = client.post("/predict?explain=1&top_k=3", **form(photo))
    assert response.status_code == 422
    assert response.get_json()["code"] == "invalid_parameter"


def test_activation_maps_are_drawn_within_the_deadline_and_the_slot(
    app: Flask, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*arguments: object) -> tuple[str, ...]:
        in_flight.append(context_of(app).batcher.in_flight)
        raise DeadlineExceededError

    in_flight: list[int] = []
    monkeypatch.setattr(pipeline, "draw_overlays", late)
    response = app.test_client().post("/predict?explain=1", **form(photo))
    assert (response.status_code, response.get_json()["code"]) == (504, "timed_out")
    assert in_flight == [1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("logits", "threshold", "verdict"),
    [
        ([9.0, 0, 0, 0, 0, 0], 5.0, "known"),
        ([9.0, 0, 0, 0, 0, 0], 9.5, "unknown"),
        ([9.0, 8.9, 8.9, 0, 0, 0], 5.0, "unsure"),
    ],
)
def test_the_ood_rule_determines_the_verdict(
    tmp_path: Path, photo: bytes, logits: list[float], threshold: float, verdict: str
) -> None:
    rule = OodRule("max_logit", threshold)
    path = save_fake_checkpoint(tmp_path / "fake.safetensors", logits, ood_rule=rule)
    app = create_app(Settings(checkpoint=path, device="cpu"))
    result = app.test_client().post("/predict", **form(photo)).get_json()
    assert result["verdict"] == verdict
    assert result["ood"] == {
        "score": pytest.approx(9.0),
        "threshold": threshold,
        "is_known": verdict != "unknown",
    }
    assert len(result["predictions"]) == 5
    page = app.test_client().post("/", **form(photo)).text
    assert f'<section class="result {verdict}">' in page


def test_a_heic_photo_is_classified_if_the_setting_is_on(make_app: MakeApp) -> None:
    response = make_app(heif=True).test_client().post("/predict", **form(heic()))
    assert response.status_code == 200
    assert len(response.get_json()["predictions"]) == 5


def test_a_heic_photo_is_refused_as_switched_off(client: FlaskClient) -> None:
    response = client.post("/predict", **form(heic()))
    assert response.status_code == 415
    problem = response.get_json()
    assert problem["code"] == "unsupported_format"
    assert "switched off" in problem["detail"]
    assert FORMAT_NAMES in problem["detail"]


def test_a_checkpoint_without_ood_rule_is_unchecked(client: FlaskClient, photo: bytes) -> None:
    result = client.post("/predict", **form(photo)).get_json()
    assert result["ood"] is None
    assert result["verdict"] == "unchecked"
