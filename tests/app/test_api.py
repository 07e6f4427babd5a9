from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from model.classifier import Classifier
from model.images import decode_image
from tests.app.conftest import encoded, form
from tests.conftest import TINY_CLASSES


def test_a_photo_in_a_form_gets_five_ranked_names(
    client: FlaskClient, classifier: Classifier, photo: bytes
) -> None:
    response = client.post("/predict", **form(photo))
    assert response.status_code == 200
    assert response.content_type == "application/json"
    answer = response.get_json()
    assert list(answer) == ["predictions", "model", "request_id"]
    assert answer["model"] == {
        "architecture": "test_efficientnet",
        "checkpoint": "tiny.safetensors",
        "version": classifier.version,
    }
    assert answer["request_id"] == response.headers["X-Request-ID"]
    (expected,) = classifier.predict([decode_image(photo)])
    assert [(item["class_id"], item["name"]) for item in answer["predictions"]] == [
        (item.class_id, item.name) for item in expected
    ]
    probabilities = [item["probability"] for item in answer["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities == pytest.approx([item.probability for item in expected], abs=1e-6)


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "image/x-whatever", "application/octet-stream"]
)
def test_a_photo_as_the_body_gets_the_same_answer(
    client: FlaskClient, photo: bytes, content_type: str
) -> None:
    of_form = client.post("/predict", **form(photo)).get_json()
    of_body = client.post("/predict", data=photo, content_type=content_type).get_json()
    assert of_body["predictions"] == of_form["predictions"]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP"])
def test_every_format_is_taken_whatever_its_name_says(
    client: FlaskClient, image_format: str
) -> None:
    data = form(encoded(image_format), name="../../<img onerror=alert(1)>.exe")
    assert client.post("/predict", **data).status_code == 200


def test_top_k_chooses_how_many_names(client: FlaskClient, photo: bytes) -> None:
    for top_k in (1, 3, len(TINY_CLASSES)):
        response = client.post(f"/predict?top_k={top_k}", **form(photo))
        assert len(response.get_json()["predictions"]) == top_k
    everything = response.get_json()["predictions"]
    assert {item["class_id"] for item in everything} == {item.class_id for item in TINY_CLASSES}
    assert sum(item["probability"] for item in everything) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "top_k", ["0", "7", "103", "abc", "", "5.0", "-1", "%2B1", "1e0", "٣", "9" * 5000]
)
def test_a_top_k_out_of_range_is_refused_with_422(
    client: FlaskClient, photo: bytes, top_k: str
) -> None:
    response = client.post(f"/predict?top_k={top_k}", **form(photo))
    assert response.status_code == 422
    detail = response.get_json()["detail"]
    assert "from 1 to 6" in detail
    assert len(detail) < 200


def test_two_values_of_top_k_are_refused(client: FlaskClient, photo: bytes) -> None:
    response = client.post("/predict?top_k=1&top_k=2", **form(photo))
    assert response.status_code == 422
    assert "given 2 times" in response.get_json()["detail"]


def test_the_model_card_tells_what_is_served(
    client: FlaskClient, classifier: Classifier, tiny_checkpoint: Path
) -> None:
    card = client.get("/model").get_json()
    metadata = json.loads(json.dumps(classifier.metadata.to_dict()))
    assert {name: card[name] for name in metadata} == metadata
    assert card["version"] == classifier.version
    assert card["checkpoint"] == tiny_checkpoint.name
    assert card["device"] == "cpu"


def test_labels_come_in_index_order(client: FlaskClient) -> None:
    labels = client.get("/labels").get_json()["labels"]
    assert [(item["class_id"], item["name"]) for item in labels] == [
        (item.class_id, item.name) for item in TINY_CLASSES
    ]
    assert [item["class_id"] for item in labels] == ["1", "10", "100", "2", "21", "5"]
