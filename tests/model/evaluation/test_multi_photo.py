"""Metrics of combined photos."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from model.evaluation.multi_photo import (
    MultiPhotoMetrics,
    compute_multi_photo_detection,
    compute_multi_photo_metrics,
    folder_indices,
)
from model.ood import OodRule

RULE = OodRule("max_logit", 3.0)


def metrics(
    logits: npt.ArrayLike, targets: list[int], rule: OodRule | None = None
) -> tuple[MultiPhotoMetrics, ...]:
    indices = np.array(targets)
    return compute_multi_photo_metrics(np.array(logits, np.float32), indices, indices, 1.0, rule)


def test_a_confident_photo_outvotes_a_narrow_mistake() -> None:
    # Each class has a confident correct photo and a narrowly wrong one.
    (pairs,) = metrics([[5, 0], [0, 1], [0, 5], [1, 0]], [0, 0, 1, 1])
    assert (pairs.photos, pairs.groups) == (2, 40)
    assert (pairs.alone_top1, pairs.combined_top1) == (0.5, 1.0)
    assert pairs.combined is None


def test_groups_have_one_class_and_the_rest_is_left_out() -> None:
    # The third photo of class 0 is wrong and so are its pairs; 2 of 3 rounds draw it.
    pairs, triples = metrics([[1, 0], [1, 0], [0, 9], [0, 1]], [0, 0, 0, 1])
    assert pairs.alone_top1 is not None
    assert pairs.combined_top1 is not None
    assert 0 < pairs.combined_top1 < 1
    assert pairs.combined_top1 == pytest.approx(1 - 2 * (1 - pairs.alone_top1))
    assert (triples.photos, triples.groups) == (3, 20)
    assert triples.alone_top1 == pytest.approx(2 / 3)
    assert triples.combined_top1 == 0


def test_without_two_photos_of_a_class_there_are_no_metrics() -> None:
    assert metrics(np.eye(2), [0, 1]) == ()


def test_verdicts_on_groups_use_the_combined_score() -> None:
    # Alone: scores 5 and 2. Together: mean score 3.5, mean logits 2.5 and 1, so (3.5 + 2.5) / 2.
    (pairs,) = metrics([[5, 0], [0, 2]], [0, 0], RULE)
    assert pairs.alone is not None
    assert pairs.combined is not None
    assert (pairs.alone.known, pairs.combined.known) == (0.5, 1)
    assert (pairs.alone.n, pairs.combined.n) == (40, 20)
    (pairs,) = metrics([[5, 0], [0, 1]], [0, 0], RULE)
    assert pairs.combined is not None
    assert pairs.combined.unknown == 1


def test_ood_photos_have_verdicts_only() -> None:
    logits = np.array([[5, 0], [0, 1]], np.float32)
    (pairs,) = compute_multi_photo_metrics(logits, np.array([7, 7]), None, 1.0, RULE)
    assert (pairs.alone_top1, pairs.combined_top1) == (None, None)
    assert pairs.alone is not None
    assert (pairs.alone.unknown, pairs.alone.known_top1) == (0.5, None)


def test_detection_compares_the_scores_of_groups() -> None:
    # The photos of each group have the scores 4 and 2; the OOD photos disagree about the class.
    known = np.array([[4, 0], [2, 0]], np.float32), np.array([0, 0])
    ood = np.array([[4, 0], [0, 2]], np.float32), np.array([3, 3])
    (pairs,) = compute_multi_photo_detection(known, ood, 1.0, RULE)
    assert (pairs.photos, pairs.alone, pairs.mean_score) == (2, 0.5, 0.5)
    assert (pairs.score_of_mean, pairs.combined) == (1, 1)
    assert compute_multi_photo_detection(known, ood, 1.0, None) == ()
    assert compute_multi_photo_detection(known, (ood[0], np.array([3, 4])), 1.0, RULE) == ()


def test_photos_of_one_folder_have_one_index() -> None:
    assert folder_indices(["rose", "aster", "rose"]).tolist() == [1, 0, 1]
