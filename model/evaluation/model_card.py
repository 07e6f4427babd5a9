"""The numbers of a model card, as Markdown between two marks of an existing file.

Classifier, Evaluation -> tables -> what stands between the marks; the rest of the file stays
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from model.atomic_write import atomic_write
from model.backbones import build_network
from model.classifier import Classifier
from model.errors import PetalscopeError
from model.evaluation.evaluate import Evaluation
from model.evaluation.metrics import CALIBRATION_BINS, ClassificationMetrics

BEGIN: Final = "<!-- evaluate.py writes from here -->"
END: Final = "<!-- evaluate.py wrote to here -->"
_MOST_WORST: Final = 10
_BASELINE_SCORE: Final = "probability"  # of checkpoints without a rule


class ModelCardError(PetalscopeError):
    """The file has no place for the numbers, or cannot be read or written."""


def check_card(path: Path) -> None:
    """See that a file has the two marks, before the work rather than after it.

    Raises:
        ModelCardError: It has not.
    """
    _parts(path)


def write_card(path: Path, lines: Sequence[str]) -> None:
    """Put lines between the marks of a file, in the place of what stands there.

    Raises:
        ModelCardError: The file lacks the marks, or cannot be read or written.
    """
    before, after = _parts(path)
    text = "\n".join([before + BEGIN, "", *lines, "", END + after])
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ModelCardError(f"{path} cannot be written: {error.strerror}.") from error


def card_lines(
    checkpoint: Path, classifier: Classifier, evaluation: Evaluation, command: str
) -> list[str]:
    """Lay out the numbers as Markdown.

    Args:
        checkpoint: Where the classifier was loaded from.
        classifier: What was evaluated.
        evaluation: What was found.
        command: What was typed to get them.
    """
    size = checkpoint.stat().st_size / 1e6
    # Built, not asked: a network that OpenVINO runs has no parameters to count.
    network = build_network(classifier.metadata.architecture)
    parameters = sum(item.numel() for item in network.parameters()) / 1e6
    return [
        f"Version `{classifier.version}`, {size:.1f} MB, {parameters:.1f} M parameters, "
        "measured by",
        "",
        "```sh",
        command,
        "```",
        "",
        *_sets(evaluation),
        *_calibration(evaluation),
        *_worst(classifier, evaluation),
        *_unknown(classifier, evaluation),
        *_robustness(evaluation),
    ][:-1]


def _parts(path: Path) -> tuple[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelCardError(f"The model card {path} cannot be read.") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ModelCardError(
            f"{path} has no place for the numbers; put these two lines where they belong: "
            f"{BEGIN} and {END}"
        )
    return before, after


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _interval(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * value:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def _sets(evaluation: Evaluation) -> list[str]:
    rows = [
        f"| {name} | {measures.n} | {_interval(measures.top1, measures.top1_interval)} "
        f"| {_interval(measures.top5, measures.top5_interval)} "
        f"| {_percent(measures.mean_per_class)} | {_percent(measures.confidence_wrong)} "
        f"| {_percent(evaluation.called_unknown.get(name))} "
        f"| {_percent(evaluation.wrong_called_unknown.get(name))} |"
        for name, measures in evaluation.sets.items()
    ]
    return [
        "| photos of the classes | n | top-1 | top-5 | mean per class | mean confidence when wrong "
        "| called unknown | of the wrong |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        "In brackets: 95 % Wilson intervals.",
        "",
        *_pairs(evaluation),
    ]


def _pairs(evaluation: Evaluation) -> list[str]:
    found = [
        f"{_percent(pairs.paired)} on {name}, against {_percent(pairs.alone)} for the same alone"
        for name, pairs in evaluation.pairs.items()
        if pairs is not None
    ]
    if not found:
        return []
    return [f"Two photos of a class together, paired at random: {'; '.join(found)}.", ""]


def _calibration(evaluation: Evaluation) -> list[str]:
    errors = ", ".join(
        f"{_percent(measures.ece)} on {name}" for name, measures in evaluation.sets.items()
    )
    return [f"Expected calibration error ({CALIBRATION_BINS} bins): {errors}.", ""]


def _worst(classifier: Classifier, evaluation: Evaluation) -> list[str]:
    labels = {item.class_id: item.name for item in classifier.metadata.classes}
    name, measures = next(iter(evaluation.sets.items()))
    rows = _wrong_rows(measures, labels)
    if not rows:
        return []
    return [
        f"The worst classes of {name}:",
        "",
        "| class | right | taken for |",
        "| --- | --- | --- |",
        *rows,
        "",
        *_small_set_rows(evaluation, labels),
    ]


def _wrong_rows(measures: ClassificationMetrics, labels: dict[str, str]) -> list[str]:
    wrong = [(class_id, row) for class_id, row in measures.per_class.items() if row.taken_for]
    wrong.sort(key=lambda item: (item[1].accuracy, -item[1].n))
    return [
        f"| {class_id} {labels[class_id]} | {round(row.n * row.accuracy)} of {row.n} "
        f"| {row.taken_for} {labels[row.taken_for or '']} |"
        for class_id, row in wrong[:_MOST_WORST]
    ]


def _small_set_rows(evaluation: Evaluation, labels: dict[str, str]) -> list[str]:
    """Tell every class of the sets that have few of them."""
    lines = []
    for name, measures in list(evaluation.sets.items())[1:]:
        if len(measures.per_class) > _MOST_WORST:
            continue
        classes = ", ".join(
            f"{labels[class_id]} {_percent(row.accuracy)}"
            for class_id, row in measures.per_class.items()
        )
        lines += [f"By class of {name}: {classes}.", ""]
    return lines


def _unknown(classifier: Classifier, evaluation: Evaluation) -> list[str]:
    if not evaluation.unknown:
        return []
    rule = classifier.metadata.ood_rule
    score = _BASELINE_SCORE if rule is None else rule.score
    threshold = "the checkpoint has no" if rule is None else f"{rule.threshold:.3f} is the"
    rows = []
    for name, measures in evaluation.unknown.items():
        separation = measures.separations[score]
        rows.append(
            f"| {name} | {measures.n} | {separation.auroc:.4f} | {_percent(separation.fpr95)} "
            f"| {_percent(measures.called_unknown)} |"
        )
    first = next(iter(evaluation.sets))
    return [
        "| photos of none of the classes | n | AUROC | FPR95 | called unknown |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"Score: `{score}`, against {first}; {threshold} threshold.",
        "",
    ]


def _robustness(evaluation: Evaluation) -> list[str]:
    if not evaluation.robustness:
        return []
    first, measures = next(iter(evaluation.sets.items()))
    return [
        f"| {first} under | top-1 |",
        "| --- | --- |",
        f"| nothing | {_percent(measures.top1)} |",
        *(f"| {change} | {_percent(top1)} |" for change, top1 in evaluation.robustness.items()),
        "",
    ]
