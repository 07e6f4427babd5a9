"""Tables of an evaluation, as Markdown and as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.classifier import Classifier
from model.evaluation.detection import DetectionMetrics
from model.evaluation.evaluate import Evaluation, SetMetrics
from model.evaluation.metrics import compute_metrics
from model.evaluation.multi_photo import MultiPhotoDetection, MultiPhotoMetrics
from model.evaluation.ood_metrics import OodMetrics
from model.evaluation.report import Table, report_tables
from model.evaluation.verdict_metrics import VerdictMetrics
from model.ood import SCORES
from tests.conftest import TINY_CLASSES
from tests.model.evaluation.test_metrics import logits_for

CLASS_IDS = [item.class_id for item in TINY_CLASSES]  # 1, 10, 100, 2, 21, 5
TABLE = Table("Colors", ("name", "n"), [("red", "1"), ("dark blue", "20")], "All of them.")


def test_a_table_as_markdown() -> None:
    assert TABLE.to_markdown() == [
        "Colors:",
        "",
        "| name | n |",
        "| --- | --- |",
        "| red | 1 |",
        "| dark blue | 20 |",
        "",
        "All of them.",
    ]


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    table = Table("Classes", ("class", "n"), [("red | white", "1")])
    assert table.to_markdown()[-1] == r"| red \| white | 1 |"
    assert table.to_text()[-1] == "red | white  1"


def test_a_table_as_text_has_aligned_columns() -> None:
    assert TABLE.to_text() == [
        "Colors:",
        "name       n",
        "red        1",
        "dark blue  20",
        "All of them.",
    ]


def set_metrics(predictions: list[int], targets: list[int]) -> SetMetrics:
    return SetMetrics(compute_metrics(logits_for(predictions), torch.tensor(targets), CLASS_IDS))


@pytest.fixture
def classifier(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint, "cpu")


def test_empty_tables_are_left_out(classifier: Classifier) -> None:
    (accuracy,) = report_tables(classifier, Evaluation({"valid": set_metrics([0, 1], [0, 1])}))
    assert [row[0] for row in accuracy.rows] == ["valid"]


def test_every_kind_of_metrics_has_a_table(classifier: Classifier) -> None:
    metrics = set_metrics([0, 1, 2], [0, 1, 1])
    verdicts = VerdictMetrics(3, 0.5, 0.25, 0.25, 1.0, None, 0.0)
    pair = MultiPhotoMetrics(2, 20, 0.5, 0.75, verdicts, replace(verdicts, known=0.625))
    with_pairs = SetMetrics(metrics.classification, verdicts, (pair,))
    scores = dict.fromkeys(SCORES, DetectionMetrics(0.9, 0.2))
    ood_metrics = OodMetrics(
        7,
        None,
        {"valid": scores},
        (MultiPhotoMetrics(2, 20, None, None, None, None),),
        {"valid": (MultiPhotoDetection(2, 0.5, 0.75, 0.625, 0.875),)},
    )
    evaluation = Evaluation({"valid": with_pairs}, {"pets": ood_metrics}, {"valid": {"blur": 0.5}})
    _, verdict_table, pairs, worst, ood, ood_pairs, corruptions = report_tables(
        classifier, evaluation
    )
    assert [row[:3] for row in verdict_table.rows] == [("valid", "3", "50.00 %")]
    assert [row[:6] for row in pairs.rows] == [
        ("valid", "2", "50.00 %", "75.00 %", "50.00 %", "62.50 %"),
        ("pets", "2", "–", "–", "–", "–"),
    ]
    assert ood_pairs.rows == [("valid", "pets", "2", "0.5000", "0.7500", "0.6250", "0.8750")]
    assert [row[1] for row in worst.rows] == ["1 of 2"]
    assert ood.rows == [("valid", "pets", "0.9000", "20.00 %")]
    assert [row[1] for row in corruptions.rows] == ["66.67 %", "50.00 %"]


def test_the_worst_classes_are_sorted_by_accuracy_then_photos(classifier: Classifier) -> None:
    # Class index 0: 0 of 1 correct; 1: 0 of 2; 2: 1 of 2.
    metrics = set_metrics([5, 5, 5, 2, 5], [0, 1, 1, 2, 2])
    _, worst = report_tables(classifier, Evaluation({"valid": metrics}), worst=2)
    assert [row[1] for row in worst.rows] == ["0 of 2", "0 of 1"]
