"""Metrics section of a model card."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.classifier import Classifier
from model.evaluation.evaluate import Evaluation, SetMetrics
from model.evaluation.metrics import compute_metrics
from model.evaluation.model_card import BEGIN, END, ModelCardError, check_card, write_card
from tests.conftest import TINY_CLASSES
from tests.model.evaluation.test_metrics import logits_for


def test_only_the_text_between_the_markers_is_replaced(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "card.md"
    path.write_text(f"# Card\n\n{BEGIN}\nold\n{END}\n\n## License\n", encoding="utf-8")
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    logits = logits_for([0, 1])
    metrics = compute_metrics(
        logits, logits.argmax(dim=1), [item.class_id for item in TINY_CLASSES]
    )
    evaluation = Evaluation({"valid": SetMetrics(metrics)})
    write_card(path, tiny_checkpoint, classifier, evaluation, "python scripts/evaluate.py")
    once = path.read_text(encoding="utf-8")
    assert once.startswith(f"# Card\n\n{BEGIN}\n")
    assert once.endswith(f"\n{END}\n\n## License\n")
    assert "old" not in once
    assert classifier.version in once
    assert "python scripts/evaluate.py" in once
    write_card(path, tiny_checkpoint, classifier, evaluation, "python scripts/evaluate.py")
    assert path.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_file_without_markers_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelCardError):
        check_card(path)
    assert path.read_text(encoding="utf-8") == text


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelCardError):
        check_card(tmp_path / "none.md")
