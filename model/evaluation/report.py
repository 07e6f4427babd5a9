"""Results of an evaluation as tables, for the terminal and the model card, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import timm
import torch

import model
from model.checkpoint.labels import FlowerClass
from model.classifier import Classifier
from model.evaluation.evaluate import Evaluation, SetMetrics
from model.evaluation.metrics import CALIBRATION_BINS, ClassificationMetrics

DEFAULT_WORST: Final = 10
_BASELINE_SCORE: Final = "probability"  # of checkpoints without an OOD rule
_MISSING: Final = "–"


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: Line above the table.
        header: Names of the columns.
        rows: Cells, as many in each row as in `header`.
        note: Line below the table; empty for none.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def to_markdown(self) -> list[str]:
        """Return the table as lines of Markdown."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        escaped = [[cell.replace("|", r"\|") for cell in cells] for cells in lines]
        table = [f"| {' | '.join(cells)} |" for cells in escaped]
        return [f"{self.title}:", "", *table, *(["", self.note] if self.note else [])]

    def to_text(self) -> list[str]:
        """Return the table as lines of text with aligned columns."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            for cells in lines
        ]
        return [f"{self.title}:", *table, *([self.note] if self.note else [])]


def report_tables(
    classifier: Classifier, evaluation: Evaluation, worst: int = DEFAULT_WORST
) -> list[Table]:
    """Return all tables of an evaluation; those without rows are left out.

    Args:
        classifier: Evaluated classifier.
        evaluation: Its metrics.
        worst: Maximum number of classes listed for each set.
    """
    classes = classifier.metadata.classes
    tables = [
        _accuracy_table(evaluation.sets),
        _verdict_table(evaluation),
        _multi_photo_table(evaluation),
        *_worst_class_tables(evaluation.sets, classes, worst),
        _ood_table(classifier, evaluation),
        _multi_photo_detection_table(evaluation),
        *(_corruption_table(evaluation, name) for name in evaluation.corruptions),
    ]
    return [table for table in tables if table.rows]


def report_text(
    checkpoint: Path, classifier: Classifier, evaluation: Evaluation, worst: int = DEFAULT_WORST
) -> str:
    """Return the report for a terminal: facts about the checkpoint, then all tables.

    Args:
        checkpoint: File that the classifier was loaded from.
        classifier: Evaluated classifier.
        evaluation: Its metrics.
        worst: Maximum number of classes listed for each set.
    """
    metadata = classifier.metadata
    transform = metadata.transform
    lines = [
        f"checkpoint  {checkpoint} (version {classifier.version})",
        f"network     {metadata.architecture.backbone}, {len(metadata.classes)} classes, "
        f"temperature {metadata.temperature:.3f}, on {classifier.network.device}",
        f"transform   resize {transform.resize} px ({transform.interpolation}), "
        f"center crop {transform.crop} px",
    ]
    for table in report_tables(classifier, evaluation, worst):
        lines += ["", *table.to_text()]
    return "\n".join(lines)


def report_json(
    checkpoint: Path,
    classifier: Classifier,
    folders: Mapping[str, Path],
    evaluation: Evaluation,
    command: str,
) -> dict[str, Any]:
    """Return all metrics and their provenance as JSON-ready values.

    Args:
        checkpoint: File that the classifier was loaded from.
        classifier: Evaluated classifier.
        folders: Map from the name of a set to its folder.
        evaluation: Metrics of the classifier.
        command: Command line that made them.
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
        "transform": asdict(metadata.transform),
        "command": command,
        "device": classifier.network.device,
        "versions": {
            "petalscope": model.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
        "sets": {
            name: {"folder": str(folders[name]), **_set_json(metrics, metadata.classes)}
            for name, metrics in evaluation.sets.items()
        },
        "ood": {
            name: {"folder": str(folders[name]), **asdict(metrics)}
            for name, metrics in evaluation.ood.items()
        },
        "corruptions": dict(evaluation.corruptions),
    }


def _accuracy_table(sets: Mapping[str, SetMetrics]) -> Table:
    return Table(
        "Accuracy and calibration",
        (
            "set",
            "photos",
            "top-1",
            "top-5",
            "mean per class",
            "ECE",
            "ECE by chance",
            "mean confidence of errors",
        ),
        [
            (
                name,
                str(metrics.classification.n),
                _with_interval(metrics.classification.top1, metrics.classification.top1_interval),
                _with_interval(metrics.classification.top5, metrics.classification.top5_interval),
                _percent(metrics.classification.mean_per_class),
                _percent(metrics.classification.ece),
                _percent(metrics.classification.ece_by_chance),
                _percent(metrics.classification.confidence_wrong),
            )
            for name, metrics in sets.items()
        ],
        f"[..]: 95 % Wilson interval. ECE: expected calibration error, {CALIBRATION_BINS} bins. "
        "By chance: its mean for perfectly calibrated predictions.",
    )


def _verdict_table(evaluation: Evaluation) -> Table:
    return Table(
        "Verdicts",
        (
            "set",
            "photos",
            "known",
            "unsure",
            "unknown",
            "top-1 of known",
            "top-5 of unsure",
            "correct but unknown",
        ),
        [
            (
                name,
                str(found.n),
                _percent(found.known),
                _percent(found.unsure),
                _percent(found.unknown),
                _percent(found.known_top1),
                _percent(found.unsure_top5),
                _percent(found.correct_unknown),
            )
            for name, found in (
                *((name, metrics.verdicts) for name, metrics in evaluation.sets.items()),
                *((name, metrics.verdicts) for name, metrics in evaluation.ood.items()),
            )
            if found
        ],
        "Correct but unknown: fraction of the correctly classified photos.",
    )


def _multi_photo_table(evaluation: Evaluation) -> Table:
    groups = {name: metrics.multi_photo for name, metrics in evaluation.sets.items()}
    groups |= {name: metrics.multi_photo for name, metrics in evaluation.ood.items()}
    return Table(
        "Photos alone, and combined with others of their folder at random",
        (
            "set",
            "photos",
            "top-1 alone",
            "combined",
            "known alone",
            "combined",
            "unknown alone",
            "combined",
        ),
        [
            (
                name,
                str(found.photos),
                _percent(found.alone_top1),
                _percent(found.combined_top1),
                _percent(found.alone.known if found.alone else None),
                _percent(found.combined.known if found.combined else None),
                _percent(found.alone.unknown if found.alone else None),
                _percent(found.combined.unknown if found.combined else None),
            )
            for name, items in groups.items()
            for found in items
        ],
    )


def _multi_photo_detection_table(evaluation: Evaluation) -> Table:
    return Table(
        "AUROC of OOD detection with several photos",
        ("in-distribution", "OOD", "photos", "alone", "mean score", "score of mean", "combined"),
        [
            (
                name,
                ood,
                str(found.photos),
                *(
                    f"{value:.4f}"
                    for value in (
                        found.alone,
                        found.mean_score,
                        found.score_of_mean,
                        found.combined,
                    )
                ),
            )
            for ood, metrics in evaluation.ood.items()
            for name, against in metrics.multi_photo_against.items()
            for found in against
        ],
        "Score of mean: of the mean logits. Combined: the mean of it and the mean score.",
    )


def _worst_class_tables(
    sets: Mapping[str, SetMetrics], classes: Sequence[FlowerClass], worst: int
) -> Iterator[Table]:
    labels = {item.class_id: item.label for item in classes}
    for name, metrics in sets.items():
        found = metrics.classification.per_class
        wrong = [(class_id, row) for class_id, row in found.items() if row.confused_with]
        # Lowest accuracy first; of equal ones, the class with more photos.
        wrong.sort(key=lambda item: (item[1].accuracy, -item[1].n))
        yield Table(
            f"Worst classes of {name}",
            ("class", "correct", "most often confused with"),
            [
                (
                    labels[class_id],
                    f"{round(row.n * row.accuracy)} of {row.n}",
                    labels[row.confused_with or ""],
                )
                for class_id, row in wrong[:worst]
            ],
        )


def _ood_table(classifier: Classifier, evaluation: Evaluation) -> Table:
    rule = classifier.metadata.ood_rule
    score = _BASELINE_SCORE if rule is None else rule.score
    return Table(
        "OOD detection",
        ("in-distribution", "OOD", "AUROC", "FPR@95TPR"),
        [
            (name, ood, f"{scores[score].auroc:.4f}", _percent(scores[score].fpr95))
            for ood, metrics in evaluation.ood.items()
            for name, scores in metrics.against.items()
        ],
        f"Score: `{score}`.",
    )


def _corruption_table(evaluation: Evaluation, name: str) -> Table:
    rows = [("none", _percent(evaluation.sets[name].classification.top1))]
    rows += [
        (corruption, _percent(top1)) for corruption, top1 in evaluation.corruptions[name].items()
    ]
    return Table(f"Top-1 on {name} under corruptions", ("corruption", "top-1"), rows)


def _percent(value: float | None) -> str:
    return _MISSING if value is None else f"{100 * value:.2f} %"


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * value:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def _set_json(metrics: SetMetrics, classes: Sequence[FlowerClass]) -> dict[str, Any]:
    return {
        **_classification_json(metrics.classification, classes),
        "verdicts": asdict(metrics.verdicts) if metrics.verdicts else None,
        "multi_photo": [asdict(item) for item in metrics.multi_photo],
    }


def _classification_json(
    metrics: ClassificationMetrics, classes: Sequence[FlowerClass]
) -> dict[str, Any]:
    names = {item.class_id: item.name for item in classes}
    ids = list(names)
    confused = metrics.confusion.clone().fill_diagonal_(0)
    return {
        **metrics.summary(),
        "per_class": {
            class_id: {"name": names[class_id], **asdict(row)}
            for class_id, row in metrics.per_class.items()
        },
        "confusions": [
            {"class_id": ids[row], "predicted": ids[column], "n": int(confused[row, column])}
            for row, column in confused.nonzero().tolist()
        ],
        "calibration_bins": [asdict(item) for item in metrics.bins],
    }
