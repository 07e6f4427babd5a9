"""Metrics of combined photos."""

from __future__ import annotations

import pytest
import torch

from model.evaluation.multi_photo import compute_multi_photo_metrics


def test_a_confident_photo_outvotes_a_narrow_mistake() -> None:
    # Each class has a confident correct photo and a narrowly wrong one.
    logits = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, 5.0], [1.0, 0.0]])
    found = compute_multi_photo_metrics(logits, torch.tensor([0, 0, 1, 1]))
    assert found is not None
    assert (found.single_top1, found.pair_top1) == (0.5, 1.0)


def test_pairs_have_one_class_and_an_odd_photo_is_left_out() -> None:
    # The third photo of class 0 is wrong and so are its pairs; 2 of 3 rounds draw it.
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 9.0], [0.0, 1.0]])
    found = compute_multi_photo_metrics(logits, torch.tensor([0, 0, 0, 1]))
    assert found is not None
    assert 0 < found.pair_top1 < 1
    assert found.pair_top1 == pytest.approx(1 - 2 * (1 - found.single_top1))


def test_without_two_photos_of_a_class_there_are_no_metrics() -> None:
    assert compute_multi_photo_metrics(torch.eye(2), torch.tensor([0, 1])) is None
