"""Names of classes: the category file and the order of class ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint.labels import FlowerClass, LabelsError, name_classes, read_category_names

NAMES = {
    "1": "pink primrose",
    "10": "globe thistle",
    "100": "blanket flower",
    "2": "hard-leaved pocket orchid",
    "21": "fire lily",
}


def test_names_are_read_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "cat_to_name.json"
    path.write_text(
        '{"21": "fire lily", "46": "wallflower", "94": "tête-à-tête"}', encoding="utf-8"
    )
    assert read_category_names(path) == {
        "21": "fire lily",
        "46": "wallflower",
        "94": "tête-à-tête",
    }


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(LabelsError, match=r"none\.json"):
        read_category_names(path)


def test_a_folder_instead_of_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabelsError):
        read_category_names(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"21": fire lily}', b'{"21": "fire \xff lily"}'])
def test_a_file_that_is_not_json_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "names.json"
    path.write_bytes(content)
    with pytest.raises(LabelsError, match=r"names\.json"):
        read_category_names(path)


@pytest.mark.parametrize("content", ["[]", "null", '"21"', "3", '{"21": 3}', '{"21": ["lily"]}'])
def test_any_other_json_than_a_map_of_strings_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(content)
    with pytest.raises(LabelsError, match=r"names\.json"):
        read_category_names(path)


def test_ids_keep_the_order_of_folders() -> None:
    # Folders sort as text, so class 21 has index 4.
    ids = sorted(NAMES)
    assert ids == ["1", "10", "100", "2", "21"]
    assert name_classes(ids, dict(reversed(NAMES.items()))) == (
        FlowerClass("1", "pink primrose"),
        FlowerClass("10", "globe thistle"),
        FlowerClass("100", "blanket flower"),
        FlowerClass("2", "hard-leaved pocket orchid"),
        FlowerClass("21", "fire lily"),
    )


def test_any_other_order_is_kept_too() -> None:
    ids = ["21", "1", "100"]
    assert [flower.class_id for flower in name_classes(ids, NAMES)] == ids


def test_names_without_a_class_are_ignored() -> None:
    assert name_classes(["2"], NAMES) == (FlowerClass("2", "hard-leaved pocket orchid"),)


def test_the_error_lists_every_class_without_a_name() -> None:
    with pytest.raises(LabelsError, match="103, 7"):
        name_classes(["1", "103", "2", "7"], NAMES)
