"""Metrics section of a model card: the Markdown between two marker lines of an existing file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from model.atomic_write import atomic_write
from model.backbones import build_network
from model.classifier import Classifier
from model.errors import PetalscopeError
from model.evaluation.evaluate import Evaluation
from model.evaluation.report import report_tables

BEGIN: Final = "<!-- metrics: begin (written by evaluate.py) -->"
END: Final = "<!-- metrics: end -->"


class ModelCardError(PetalscopeError):
    """A model card that lacks the markers or cannot be read or written."""


def check_card(path: Path) -> None:
    """Check that a file has both markers, before a long evaluation.

    Raises:
        ModelCardError: A marker is missing, or the file cannot be read.
    """
    _split(path)


def write_card(
    path: Path, checkpoint: Path, classifier: Classifier, evaluation: Evaluation, command: str
) -> None:
    """Replace the text between the markers of a file with the metrics.

    Args:
        path: Model card.
        checkpoint: File that the classifier was loaded from.
        classifier: Evaluated classifier.
        evaluation: Its metrics.
        command: Command line that made them.

    Raises:
        ModelCardError: A marker is missing, or the file cannot be read or written.
    """
    size = checkpoint.stat().st_size / 1e6
    # An OpenVINO backend has no parameters to count, so the network is built from its metadata.
    network = build_network(classifier.metadata.architecture)
    parameters = sum(item.numel() for item in network.parameters()) / 1e6
    lines = [
        f"Version `{classifier.version}`, {size:.1f} MB, {parameters:.1f} M parameters:",
        "",
        "```sh",
        command,
        "```",
    ]
    for table in report_tables(classifier, evaluation):
        lines += ["", *table.to_markdown()]
    before, after = _split(path)
    try:
        with atomic_write(path) as temporary:
            text = "\n".join([before + BEGIN, "", *lines, "", END + after])
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ModelCardError(f"{path} cannot be written: {error.strerror}.") from error


def _split(path: Path) -> tuple[str, str]:
    """Return the text before and after the markers."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelCardError(f"The model card {path} cannot be read.") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ModelCardError(
            f"{path} lacks the markers for the metrics; add these two lines: {BEGIN} and {END}"
        )
    return before, after
