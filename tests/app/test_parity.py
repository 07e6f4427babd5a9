"""Agreement between the service and the evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from model.classifier import Classifier
from model.evaluation.datasets import labelled_photos
from model.evaluation.evaluate import compute_logits
from tests.app.conftest import form
from tests.conftest import TINY_CLASSES


@pytest.mark.slow
@pytest.mark.data
def test_an_upload_gets_the_probabilities_that_evaluation_measures(
    client: FlaskClient, classifier: Classifier, data_dir: Path, tmp_path: Path
) -> None:
    for item in TINY_CLASSES:
        (tmp_path / item.class_id).mkdir()
        for path in sorted((data_dir / "valid" / item.class_id).iterdir())[:4]:
            (tmp_path / item.class_id / path.name).symlink_to(path)
    photos = labelled_photos(classifier, tmp_path)
    logits, _ = compute_logits(classifier, photos, batch_size=5, workers=0)
    assert len(logits) >= 20
    for (path, _), expected in zip(
        photos.samples, classifier.calibrated(logits.numpy()), strict=True
    ):
        upload = form(Path(path).read_bytes())
        response = client.post(f"/predict?top_k={len(TINY_CLASSES)}", **upload)
        got = {item["class_id"]: item["probability"] for item in response.get_json()["predictions"]}
        assert [got[item.class_id] for item in TINY_CLASSES] == pytest.approx(expected, abs=1e-4)
