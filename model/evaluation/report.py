"""What an evaluation found: as a table to read, and as JSON to keep.

Classifier, Evaluation -> table: lines of text
                       -> card: all numbers, and how they came about
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import torch

import model
from model.checkpoint.labels import FlowerClass
from model.classifier import Classifier
from model.evaluation.evaluate import Evaluation
from model.evaluation.metrics import CALIBRATION_BINS, ClassificationMetrics
from model.evaluation.ood_metrics import OodMetrics
from model.ood import SCORES


def table(
    checkpoint: Path, classifier: Classifier, evaluation: Evaluation, worst: int
) -> list[str]:
    """Lay out the results as lines of text: a line for each set, then its worst classes.

    Args:
        checkpoint: Where the classifier was loaded from.
        classifier: What was evaluated.
        evaluation: What was found.
        worst: How many classes to list for each set, of those with a wrong answer.
    """
    metadata = classifier.metadata
    transform = metadata.transform
    results = evaluation.sets
    width = max(len("unknown set"), *map(len, (*results, *evaluation.unknown)))
    lines = [
        f"checkpoint  {checkpoint} (version {classifier.version})",
        f"network     {metadata.architecture.backbone}, {len(metadata.classes)} classes, "
        f"temperature {metadata.temperature:.3f}, on {classifier.network.device}",
        f"transform   shorter side to {transform.resize} px ({transform.interpolation}), "
        f"central {transform.crop}×{transform.crop} px",
        "",
        f"{'set':{width}}  photos  {'top-1 %':<22}  {'top-5 %':<22}  per class %    loss  ECE %  "
        "when wrong %  unknown %  of wrong %",
    ]
    for name, measures in results.items():
        top1 = _with_interval(measures.top1, measures.top1_interval)
        top5 = _with_interval(measures.top5, measures.top5_interval)
        lines.append(
            f"{name:{width}}  {measures.n:>6}  {top1:<22}  {top5:<22}  "
            f"{100 * measures.mean_per_class:>11.2f}  {measures.loss:>6.4f}  "
            f"{100 * measures.ece:>5.2f}  {_percent(measures.confidence_wrong):>12}  "
            f"{_percent(evaluation.called_unknown.get(name)):>9}  "
            f"{_percent(evaluation.wrong_called_unknown.get(name)):>10}"
        )
    lines += [
        "",
        "[..]: 95 % Wilson interval; per class: mean accuracy of the classes that occur; "
        f"ECE: expected calibration error, {CALIBRATION_BINS} bins; when wrong: mean confidence "
        "of wrong answers; unknown: called none of the classes, of all and of wrong answers",
        *_pair_rows(evaluation),
        *_unknown_rows(evaluation.unknown, width),
        *_robustness_rows(evaluation, width),
    ]
    if worst:
        for name, measures in results.items():
            lines += ["", *_worst_classes(name, measures, metadata.classes, worst)]
    return lines


def card(
    checkpoint: Path,
    classifier: Classifier,
    folders: Mapping[str, Path],
    evaluation: Evaluation,
    command: str,
) -> dict[str, Any]:
    """Return everything that is known about the results as JSON-ready values.

    Args:
        checkpoint: Where the classifier was loaded from.
        classifier: What was evaluated.
        folders: A map from the name of a set to its folder.
        evaluation: What was found.
        command: What was typed to get them.
    """
    metadata = classifier.metadata
    return {
        "checkpoint": {
            "file": checkpoint.name,
            "version": classifier.version,
            "backbone": metadata.architecture.backbone,
            "temperature": metadata.temperature,
            "revision": metadata.revision,
            "created": metadata.created,
        },
        "transform": metadata.transform.to_dict(),
        "command": command,
        "device": classifier.network.device,
        "versions": {
            "petalscope": model.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
        "sets": {
            name: {
                "folder": str(folders[name]),
                **_numbers(measures, metadata.classes),
                "called_unknown": evaluation.called_unknown.get(name),
                "wrong_called_unknown": evaluation.wrong_called_unknown.get(name),
                "pairs": asdict(pairs) if (pairs := evaluation.pairs.get(name)) else None,
            }
            for name, measures in evaluation.sets.items()
        },
        "unknown": {
            name: {"folder": str(folders[name]), **asdict(measures)}
            for name, measures in evaluation.unknown.items()
        },
        "robustness": dict(evaluation.robustness),
    }


def _unknown_rows(unknown: Mapping[str, OodMetrics], width: int) -> list[str]:
    if not unknown:
        return []
    heads = "  ".join(f"{score:>14}" for score in SCORES)
    rows = ["", f"{'unknown set':{width}}  photos  unknown %  {heads}"]
    for name, measures in unknown.items():
        pairs = "  ".join(
            f"{item.auroc:>7.4f} {100 * item.fpr95:>6.2f}" for item in measures.separations.values()
        )
        called = _percent(measures.called_unknown)
        rows.append(f"{name:{width}}  {measures.n:>6}  {called:>9}  {pairs}")
    return [
        *rows,
        "",
        "by score: AUROC, and FPR95 % (taken for known where 95 % of the first set are)",
    ]


def _pair_rows(evaluation: Evaluation) -> list[str]:
    rows = [
        f"  {name}: {100 * pairs.paired:.2f} %, against {100 * pairs.alone:.2f} % of the same alone"
        for name, pairs in evaluation.pairs.items()
        if pairs is not None
    ]
    return ["", "top-1 of two photos of a class together", *rows] if rows else []


def _robustness_rows(evaluation: Evaluation, width: int) -> list[str]:
    if not evaluation.robustness:
        return []
    rows = [f"  {100 * top1:6.2f} %  {change}" for change, top1 in evaluation.robustness.items()]
    return ["", f"{next(iter(evaluation.sets))}: top-1 under changes", *rows]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def _worst_classes(
    name: str, measures: ClassificationMetrics, classes: Sequence[FlowerClass], worst: int
) -> list[str]:
    labels = {item.class_id: f"{item.class_id} {item.name}" for item in classes}
    rows = [
        (round(row.n * row.accuracy), row.n, labels[class_id], labels[row.taken_for])
        for class_id, row in measures.per_class.items()
        if row.taken_for is not None
    ]
    if not rows:
        return [f"{name}: every photo was named rightly"]
    # The lowest accuracy first; of two alike, the one that more photos speak for.
    rows = sorted(rows, key=lambda row: (row[0] / row[1], -row[1]))[:worst]
    width = max(len(label) for _, _, label, _ in rows)
    return [
        f"{name}: the worst of {len(measures.per_class)} classes, "
        "right answers and what wrong ones said most often",
        *(
            f"  {label:{width}}  {right:>3} of {n:>3}  {taken_for}"
            for right, n, label, taken_for in rows
        ),
    ]


def _numbers(measures: ClassificationMetrics, classes: Sequence[FlowerClass]) -> dict[str, Any]:
    names = {item.class_id: item.name for item in classes}
    ids = list(names)
    confused = measures.confusion.clone().fill_diagonal_(0)
    return {
        **measures.summary(),
        "per_class": {
            class_id: {"name": names[class_id], **asdict(row)}
            for class_id, row in measures.per_class.items()
        },
        "confusions": [
            {"class_id": ids[row], "taken_for": ids[column], "n": int(confused[row, column])}
            for row, column in confused.nonzero().tolist()
        ],
        "calibration_bins": [asdict(item) for item in measures.bins],
    }
