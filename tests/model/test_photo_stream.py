"""What classifying many photos promises: their order, little memory, and no stop at a bad one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.classifier import Classifier
from model.photo_stream import Photo, classify
from tests.conftest import flower_image


@pytest.fixture(scope="module")
def classifier(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint, "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Seven different photos, the third and the last of them broken."""
    listed = []
    for index in range(7):
        path = tmp_path / f"{index}.png"
        flower_image((200, 180), seed=index).save(path)
        listed.append(Photo(path.name, path))
    (tmp_path / "2.png").write_bytes(b"no photo")
    (tmp_path / "6.png").unlink()
    return listed


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_answers_come_in_the_order_of_the_photos_and_are_their_own(
    classifier: Classifier, photos: list[Photo], batch_size: int
) -> None:
    answers = list(classify(classifier, photos, top_k=6, batch_size=batch_size))
    assert [answer.photo for answer in answers] == photos
    for index, answer in enumerate(answers):
        if index in (2, 6):
            continue
        (expected,) = classifier.predict([flower_image((200, 180), seed=index)], top_k=6)
        assert [item.class_id for item in answer.predictions] == [i.class_id for i in expected]
        np.testing.assert_allclose(
            [item.probability for item in answer.predictions],
            [item.probability for item in expected],
            atol=1e-5,
        )


def test_a_bad_photo_has_a_reason_and_the_others_go_on(
    classifier: Classifier, photos: list[Photo]
) -> None:
    answers = list(classify(classifier, photos, top_k=1, batch_size=2))
    assert [len(answer.predictions) for answer in answers] == [1, 1, 0, 1, 1, 1, 0]
    assert answers[2].reason.startswith("The file is not an image")
    assert answers[6].reason == "No such file or directory."
    assert {answers[i].reason for i in (0, 1, 3, 4, 5)} == {""}


def test_nothing_but_bad_photos_does_without_the_network(classifier: Classifier) -> None:
    answers = list(classify(classifier, [Photo("-", b""), Photo("-", b"x")], top_k=5))
    assert all(answer.reason and not answer.predictions for answer in answers)
    assert len(answers) == 2


def test_photos_are_read_no_further_ahead_than_two_batches(classifier: Classifier) -> None:
    taken = 0

    def endless() -> Iterator[Photo]:
        nonlocal taken
        while True:
            taken += 1
            yield Photo(str(taken), b"no photo")

    answers = classify(classifier, endless(), top_k=1, batch_size=4)
    for number in range(1, 101):
        assert next(answers).photo.name == str(number)
        assert taken <= number + 3 * 4
    answers.close()  # type: ignore[attr-defined]  # as Ctrl-C does; must not wait for ever
