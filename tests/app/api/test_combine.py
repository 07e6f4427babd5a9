"""Combination of several photos of one plant into one result."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from app.context import context_of
from model.classifier import Classifier
from tests.app.conftest import BlockingRun, MakeApp, encoded, multipart

PHOTOS = [encoded(seed=seed) for seed in range(6)]


def parts(*photos: bytes) -> dict[str, Any]:
    return multipart(*(("image", f"{number}.jpg", data) for number, data in enumerate(photos)))


def combined(client: FlaskClient, *photos: bytes, query: str = "") -> Any:
    response = client.post(f"/predict?combine=1&top_k=6{query}", **parts(*photos))
    assert response.status_code == 200, response.get_json()
    return response.get_json()


def by_class(result: Any) -> dict[str, float]:
    return {item["class_id"]: item["probability"] for item in result["predictions"]}


def test_log_probabilities_are_averaged(client: FlaskClient) -> None:
    result = combined(client, *PHOTOS[:3])
    alone = [by_class(photo) for photo in result["photos"]]
    together = by_class(result)
    means = {name: np.mean([np.log(photo[name]) for photo in alone]) for name in together}
    total = sum(np.exp(value) for value in means.values())
    for name, probability in together.items():
        assert probability == pytest.approx(np.exp(means[name]) / total, rel=1e-3)


def test_each_photo_has_its_own_result(client: FlaskClient) -> None:
    result = combined(client, *PHOTOS[:2])
    for data, photo in zip(PHOTOS, result["photos"], strict=False):
        alone = client.post("/predict?top_k=6", **parts(data)).get_json()
        # The size of the batch changes the last bit.
        assert by_class(photo) == pytest.approx(by_class(alone))
        for item in (*photo["predictions"], *alone["predictions"]):
            del item["probability"]
        assert photo == {key: alone[key] for key in photo}


def test_combining_one_photo_returns_its_result(client: FlaskClient, photo: bytes) -> None:
    result = combined(client, photo)
    assert result["predictions"] == result["photos"][0]["predictions"]
    body = client.post("/predict?combine=1&top_k=6", data=photo, content_type="image/jpeg")
    assert body.get_json()["predictions"] == result["predictions"]


def test_activation_maps_belong_to_the_single_photos(client: FlaskClient) -> None:
    result = combined(client, *PHOTOS[:2], query="&explain=1")
    assert all("activation_map" not in item for item in result["predictions"])
    for photo in result["photos"]:
        assert all("activation_map" in item for item in photo["predictions"])


@pytest.mark.parametrize(("query", "count"), [("?combine=1", 6), ("", 2), ("?combine=0", 2)])
def test_too_many_photos_are_refused(client: FlaskClient, query: str, count: int) -> None:
    response = client.post(f"/predict{query}", **parts(*PHOTOS[:count]))
    assert response.status_code == 422
    assert response.get_json()["code"] == "too_many_photos"


def test_a_bad_photo_is_refused_before_inference(make_app: MakeApp, classifier: Classifier) -> None:
    sizes: list[int] = []

    def run(batch: Any) -> Any:
        sizes.append(len(batch))
        return classifier.outputs(batch)

    client = make_app(run=run).test_client()
    sizes.clear()
    assert client.post("/predict?combine=1", **parts(PHOTOS[0], b"words")).status_code == 415
    assert client.post("/predict?combine=1", **parts(PHOTOS[0], b"")).status_code == 422
    assert sizes == []


def test_photos_of_one_request_share_a_batch(make_app: MakeApp, classifier: Classifier) -> None:
    sizes: list[int] = []

    def run(batch: Any) -> Any:
        sizes.append(len(batch))
        return classifier.outputs(batch)

    client = make_app(run=run).test_client()
    sizes.clear()
    combined(client, *PHOTOS[:3])
    assert sizes == [3]


def test_each_photo_takes_a_slot(make_app: MakeApp, classifier: Classifier) -> None:
    run = BlockingRun(classifier.outputs)
    app = make_app(run=run, max_in_flight=4)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(lambda: combined(app.test_client(), *PHOTOS[:3]))
        assert run.started.wait(60)
        assert context_of(app).batcher.in_flight == 3
        response = app.test_client().post("/predict?combine=1", **parts(*PHOTOS[:2]))
        assert (response.status_code, response.get_json()["code"]) == (429, "overloaded")
        assert response.headers["Retry-After"] == "1"
        run.release.set()
        assert len(first.result(60)["photos"]) == 3


def test_more_photos_than_slots_are_too_many(make_app: MakeApp) -> None:
    client = make_app(max_in_flight=2).test_client()
    assert client.post("/predict?combine=1", **parts(*PHOTOS[:2])).status_code == 200
    response = client.post("/predict?combine=1", **parts(*PHOTOS[:3]))
    assert (response.status_code, response.get_json()["code"]) == (422, "too_many_photos")


def test_the_pixel_limit_applies_to_each_photo(make_app: MakeApp) -> None:
    client = make_app(max_megapixels=1).test_client()
    large, larger = encoded("PNG", (900, 800)), encoded("PNG", (1250, 801))
    assert client.post("/predict?combine=1", **parts(large, large)).status_code == 200
    response = client.post("/predict?combine=1", **parts(large, larger))
    assert response.status_code == 413
    assert response.get_json()["code"] == "too_many_pixels"


@pytest.mark.parametrize("value", ["2", "yes", "", "True", "1&combine=1"])
def test_an_invalid_value_is_refused(client: FlaskClient, photo: bytes, value: str) -> None:
    response = client.post(f"/predict?combine={value}", **parts(photo))
    assert response.status_code == 422
    assert response.get_json()["code"] == "invalid_parameter"
