"""A photo gets the same probabilities wherever it arrives."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from model.classifier import Classifier
from model.images import decode_image
from tests.app.conftest import form
from tests.conftest import TINY_CLASSES


@pytest.mark.data
def test_an_upload_agrees_with_the_classifier_on_real_photos(
    client: FlaskClient, classifier: Classifier, data_dir: Path
) -> None:
    photos = sorted((data_dir / "valid").glob("*/image_*"))[::40][:20]
    assert len(photos) == 20
    top_k = len(TINY_CLASSES)
    resize = classifier.metadata.transform.resize
    for path in photos:
        (expected,) = classifier.predict([decode_image(path, target_side=resize)], top_k)
        response = client.post(f"/predict?top_k={top_k}", **form(path.read_bytes()))
        got = {item["class_id"]: item["probability"] for item in response.get_json()["predictions"]}
        for item in expected:
            assert got[item.class_id] == pytest.approx(item.probability, abs=1e-4), path.name
