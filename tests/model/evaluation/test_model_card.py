"""The numbers find their place in a model card, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.evaluation.model_card import BEGIN, END, ModelCardError, check_card, write_card


def test_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    path.write_text(f"# Card\n\n{BEGIN}\nold\n{END}\n\n## Licence\n", encoding="utf-8")
    write_card(path, ["new", "numbers"])
    once = path.read_text(encoding="utf-8")
    assert once == f"# Card\n\n{BEGIN}\n\nnew\nnumbers\n\n{END}\n\n## Licence\n"
    write_card(path, ["new", "numbers"])
    assert path.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_file_without_a_place_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelCardError, match="put these two lines"):
        check_card(path)
    assert path.read_text(encoding="utf-8") == text


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelCardError, match="cannot be read"):
        check_card(tmp_path / "none.md")
