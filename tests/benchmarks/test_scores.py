"""OOD scores and calibrations of the benchmarks, on generated features and logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.calibrations import CALIBRATIONS, compare, cross_fitted
from benchmarks.embeddings import Embedded, Embedder, TrainingFeatures, balanced, linear_head
from benchmarks.ood_scores import Comparison, Sets, add_backbone, bootstrap, learned_score, summary
from model.checkpoint.format import load_checkpoint
from model.classifier import Classifier
from model.evaluation.datasets import labelled_photos
from model.training.calibration import LabelledLogits

_CLASSES = 4


def embedded(seed: int, photos: int, *, is_known: bool) -> Embedded:
    """Return photos whose features point at their class, or OOD photos near the origin."""
    random = np.random.default_rng(seed)
    targets = np.arange(photos) % _CLASSES if is_known else np.full(photos, -1)
    centers = np.eye(_CLASSES, 8)[targets] * 3 if is_known else np.zeros((photos, 8))
    features = (centers + random.normal(size=(photos, 8)) * 0.6).astype(np.float32)
    return Embedded(features, features[:, :_CLASSES] * 2, targets)


def sets(seed: int) -> Sets:
    return Sets(
        embedded(seed, 80, is_known=True),
        embedded(seed + 1, 60, is_known=False),
        {
            name: embedded(seed + number, 80, is_known=True)
            for number, name in enumerate(("train", "../wild_train", "../everyday_train"), 2)
        },
        (embedded(seed + 5, 80, is_known=False),),
    )


def miscalibrated(name: str, photos: int, factor: float) -> LabelledLogits:
    """Return logits whose softmax is right after division by `factor`."""
    generator = torch.Generator().manual_seed(photos)
    logits = torch.randn(photos, 6, generator=generator) * 2
    targets = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    return LabelledLogits(name, logits * factor, targets)


def test_features_and_logits_of_folders_are_those_of_the_classifier(
    tiny_checkpoint: Path, flower_folder: Path
) -> None:
    network, metadata = load_checkpoint(tiny_checkpoint)
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    photos = labelled_photos(classifier, flower_folder / "valid")
    pixels = np.stack([photo.numpy() for photo, _ in photos])
    found = Embedder(network, metadata).labelled(flower_folder / "valid")
    assert found.targets.tolist() == photos.targets
    assert found.logits == pytest.approx(classifier.logits(pixels), abs=1e-4)
    head = network.get_classifier()  # type: ignore[operator]
    again = head(torch.from_numpy(found.features)).detach().numpy()
    assert again == pytest.approx(found.logits, abs=1e-4)
    mirrored = Embedder(network, metadata, mirrored=True).ood(flower_folder / "valid")
    assert mirrored.targets.tolist() == [-1] * len(photos)
    assert mirrored.logits == pytest.approx(
        classifier.logits(np.ascontiguousarray(pixels[:, :, ::-1])), abs=1e-4
    )


def test_a_linear_head_separates_classes_it_was_fitted_on() -> None:
    photos = embedded(0, 80, is_known=True)
    head = linear_head(photos.features, photos.targets, np.ones(80, np.float32), 1e-3)
    others = embedded(1, 80, is_known=True)
    logits = head(others.features)
    assert logits.shape == (80, _CLASSES)
    assert (logits.argmax(axis=1) == others.targets).mean() > 0.95


def test_a_class_with_four_times_the_photos_weighs_twice_as_much() -> None:
    weights = balanced(np.array([0, 0, 0, 0, 1]), np.ones(5, np.float32))
    assert weights.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]


@pytest.mark.parametrize("score", ["nearest_mean", "neighbor", "neighbor_difference"])
def test_photos_of_the_classes_are_nearer_to_the_training_photos(score: str) -> None:
    found = sets(10)
    distances = TrainingFeatures(list(found.training.values()), found.ood)
    known, unknown = (getattr(distances, score)(item) for item in (found.known, found.unknown))
    assert known.shape == (80,)
    assert np.median(known) > np.quantile(unknown, 0.9)


def test_a_learned_score_is_higher_for_photos_of_the_classes() -> None:
    found = sets(20)
    score = learned_score(lambda item: summary(item, 1.0), [found.training["train"], *found.ood])
    assert np.median(score(found.known)) > 0 > np.median(score(found.unknown))


def test_equal_scores_have_a_difference_of_0_and_the_same_seed_the_same_interval() -> None:
    scores = np.arange(10, dtype=np.float32), np.arange(5, dtype=np.float32)
    values, differences = bootstrap(scores, scores)
    assert np.all(differences == 0)
    assert values.mean() == pytest.approx(0.75, abs=0.02)
    assert np.array_equal(values, bootstrap(scores, scores)[0])


def test_a_row_has_the_accuracy_the_auroc_and_the_flagged_photos() -> None:
    # 100 known photos, of which the first 20 are misclassified; 4 OOD photos.
    scores = np.arange(100, dtype=np.float32), np.array([0, 10, 24, 99.5], np.float32)
    comparison = Comparison(np.repeat([1, 0], [20, 80]), [], scores)
    comparison.add("score", np.eye(2, dtype=np.float32)[np.zeros(100, int)], scores)
    (row,) = comparison.rows
    assert row["everyday_dev"] == "80.00%"
    assert row["auroc"].startswith("0.661 ")  # (99.5 + 89.5 + 75.5 + 0) / 400
    # (80 + 80 + 75.5 + 0) / 320 and (19.5 + 9.5 + 0 + 0) / 80.
    assert row["correct_misclassified"] == "0.736 / 0.362"
    # 93 % of the 80 correct photos, from 20 on, reach 25.
    assert row["unknown"] == "25.0% / 75.0%"


def test_another_network_adds_its_scores_and_a_mean() -> None:
    own, other = sets(30), sets(30)
    comparison = Comparison(
        own.known.targets, [], (np.ones(80, np.float32), np.zeros(60, np.float32))
    )
    add_backbone(comparison, own, other, 1.0)
    assert len(comparison.rows) == 3
    assert all(float(row["everyday_dev"].rstrip("%")) > 90 for row in comparison.rows)
    assert all(float(row["auroc"].split()[0]) > 0.9 for row in comparison.rows)


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_calibration_lowers_the_log_loss_of_overconfident_logits(name: str) -> None:
    photos = [miscalibrated("one", 300, 4.0), miscalibrated("two", 200, 4.0)]
    raw = photos[0].logits.softmax(dim=1).amax(dim=1)
    found = cross_fitted(CALIBRATIONS[name], photos)[0]
    assert found.shape == (300,)
    assert 0 <= found.min() <= found.max() <= 1
    correct = photos[0].is_correct.float()
    before, after = ((item - correct).square().mean() for item in (raw, found))
    assert after < before
    assert found.mean() == pytest.approx(float(correct.mean()), abs=0.05)


def test_the_table_has_each_calibration_for_each_set() -> None:
    rows = compare([miscalibrated("one", 100, 2.0), miscalibrated("two", 80, 2.0)])
    assert [(row["set"], row["photos"]) for row in rows[:2]] == [("one", 100), ("two", 80)]
    assert {row["calibration"] for row in rows} == set(CALIBRATIONS)
    # The value by chance belongs to the photos, not to the calibration.
    assert len({row["ece_by_chance"] for row in rows if row["set"] == "one"}) == 1
