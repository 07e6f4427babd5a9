"""Classification of many photos: order, memory and bad photos."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.backends.base import Pixels
from model.classifier import Classifier
from model.file_budget import Reserve
from model.imaging.formats import UnsupportedImageError
from model.imaging.limits import ImageLimits
from model.prediction.stream import Classified, Photo, Unreadable, classify
from tests.conftest import TINY_CLASSES, flower_image


@pytest.fixture(scope="module")
def classifier(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint, "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Write seven different photos; the third and the last are unreadable."""
    listed = []
    for index in range(7):
        path = tmp_path / f"{index}.png"
        flower_image((200, 180), seed=index).save(path)
        listed.append(Photo(path.name, path))
    (tmp_path / "2.png").write_bytes(b"no photo")
    (tmp_path / "6.png").unlink()
    return listed


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_results_keep_the_order_of_the_photos(
    classifier: Classifier, photos: list[Photo], batch_size: int
) -> None:
    results = list(classify(classifier, photos, top_k=6, batch_size=batch_size))
    assert [result.photo for result in results] == photos
    for index, result in enumerate(results):
        if index in (2, 6):
            continue
        assert isinstance(result, Classified)
        image = flower_image((200, 180), seed=index)
        expected = classifier.predict([image], top_k=6)[0].predictions
        got = result.result.predictions
        assert [item.class_id for item in got] == [item.class_id for item in expected]
        np.testing.assert_allclose(
            [item.probability for item in got], [item.probability for item in expected], atol=1e-5
        )
        best = [item.class_id for item in TINY_CLASSES].index(got[0].class_id)
        maps = next(classifier.outputs([classifier.preprocess(image)])).activations
        assert maps is not None
        assert result.activations is not None
        np.testing.assert_allclose(result.activations, maps[best], atol=1e-4)


def test_a_bad_photo_has_a_reason_and_the_others_are_classified(
    classifier: Classifier, photos: list[Photo]
) -> None:
    results = list(classify(classifier, photos, top_k=1, batch_size=2))
    reasons = {
        index: result.reason
        for index, result in enumerate(results)
        if isinstance(result, Unreadable)
    }
    assert set(reasons) == {2, 6}
    assert all(reasons.values())
    assert reasons[2] != reasons[6]


def test_bad_photos_alone_do_not_run_the_network(classifier: Classifier) -> None:
    results = list(classify(classifier, [Photo("-", b""), Photo("-", b"x")], top_k=5))
    assert [type(result) for result in results] == [Unreadable, Unreadable]


def test_at_most_three_batches_are_read_ahead(classifier: Classifier) -> None:
    taken = 0

    def endless() -> Iterator[Photo]:
        nonlocal taken
        while True:
            taken += 1
            yield Photo(str(taken), b"no photo")

    results = classify(classifier, endless(), top_k=1, batch_size=4)
    for number in range(1, 101):
        assert next(results).photo.name == str(number)
        assert taken <= number + 3 * 4
    results.close()  # type: ignore[attr-defined]  # as on Ctrl-C; must not block


def test_large_photos_are_not_decoded_at_the_same_time(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (1200, 1000)).save(file, "PNG")
    at_once: list[int] = []
    decoded: list[Image.Image] = []
    preprocess = classifier.preprocess

    def watched(image: Image.Image) -> Pixels:
        decoded.append(image)
        at_once.append(len(decoded))
        time.sleep(0.02)
        inputs = preprocess(image)
        decoded.remove(image)
        return inputs

    monkeypatch.setattr(classifier, "preprocess", watched)
    monkeypatch.setattr("model.prediction.stream.usable_cores", lambda: 4)
    monkeypatch.setattr("model.prediction.stream.DEFAULT_LIMITS", ImageLimits(2_000_000))
    photos = [Photo(str(index), file.getvalue()) for index in range(8)]
    assert len(list(classify(classifier, photos, top_k=1))) == len(photos)
    assert at_once == [1] * len(photos)


def test_files_in_memory_share_a_budget(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [10, 40, 300, 40, 60, 10, 90] * 4
    held: list[int] = []
    most: list[list[int]] = []

    def photo(size: int) -> Photo:
        def read(reserve: Reserve) -> bytes:
            reserve(size)
            held.append(size)
            most.append(held.copy())
            return bytes(size)

        return Photo(str(size), read)

    def decode(data: bytes, **_: object) -> Image.Image:
        time.sleep(0.01)
        held.remove(len(data))
        raise UnsupportedImageError

    monkeypatch.setattr("model.prediction.stream.decode_image", decode)
    monkeypatch.setattr("model.prediction.stream.MAX_FILE_BYTES", 100)
    results = list(classify(classifier, map(photo, sizes), top_k=1))
    assert [result.photo.name for result in results] == list(map(str, sizes))
    assert [files for files in most if sum(files) > 100] == [[300]] * sizes.count(300)
    assert max(map(len, most)) > 1
