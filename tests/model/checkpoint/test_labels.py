"""Names of classes: the category file and the order of class ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint.labels import (
    FlowerClass,
    LabelsError,
    check_class_ids,
    name_by_folders,
    name_classes,
    read_category_names,
)

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


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "cat_to_name.json"
    path.write_text('{"rosa": "Rosé"}', encoding="utf-8-sig")
    assert read_category_names(path) == {"rosa": "Rosé"}


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(LabelsError, match=r"none\.json"):
        read_category_names(path)


def test_a_folder_instead_of_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabelsError):
        read_category_names(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"21": fire lily}', b'{"21": "fire \xff lily"}', b"[" * 100_000]
)
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


@pytest.mark.parametrize("name", ["", "  ", "fire\nlily", "fire\x00", "\ud800"])
def test_a_name_must_be_one_line_of_text(name: str) -> None:
    with pytest.raises(LabelsError, match="21"):
        name_classes(["1", "21"], {**NAMES, "21": name})


def test_two_classes_with_one_name_are_named() -> None:
    with pytest.raises(LabelsError, match="10 and 21"):
        name_classes(["1", "10", "21"], {**NAMES, "21": "Globe  Thistle"})


def test_long_lists_of_classes_are_abbreviated() -> None:
    with pytest.raises(LabelsError) as caught:
        name_classes([str(number) for number in range(200, 302)], NAMES)
    assert "97 more" in str(caught.value)
    assert "205" not in str(caught.value)


FOLDERS = (
    "rose",
    "african_daisy",
    "Märzenbecher",
    "バラ",
    'rose "Alba"',
    "colt's foot",
    "<b>",
    "x" * 250,
    "...",
    "a%2Fb?c#d",
)


def test_folders_name_their_classes(tmp_path: Path) -> None:
    check_class_ids(FOLDERS)
    classes = name_by_folders(FOLDERS, tmp_path / "cat_to_name.json")
    assert classes == tuple(FlowerClass(name, name) for name in FOLDERS)


def test_names_from_folders_are_composed_and_trimmed(tmp_path: Path) -> None:
    decomposed = "Ma\u0308rzenbecher  weiß "
    (item,) = name_by_folders([decomposed], tmp_path)
    assert item == FlowerClass(decomposed, "Märzenbecher weiß")


@pytest.mark.parametrize("folders", [["1", "10"], ["21", "rose"]])
def test_a_number_is_no_name(tmp_path: Path, folders: list[str]) -> None:
    with pytest.raises(LabelsError, match=r"names\.json"):
        name_by_folders(folders, tmp_path / "names.json")


@pytest.mark.parametrize(
    ("class_id", "name", "label"),
    [
        ("21", "fire lily", "fire lily (21)"),
        ("rose", "rose", "rose"),
        ("rose", "Rose", "Rose"),
        ("Ma\u0308rz", "März", "März"),
        ("rosa", "rose", "rose (rosa)"),
    ],
)
def test_a_label_has_the_folder_unless_it_repeats_the_name(
    class_id: str, name: str, label: str
) -> None:
    assert FlowerClass(class_id, name).label == label


@pytest.mark.parametrize("class_ids", [[], ["rose"]])
def test_two_classes_are_needed(class_ids: list[str]) -> None:
    with pytest.raises(LabelsError, match=class_ids[0] if class_ids else "none"):
        check_class_ids(class_ids)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Rose", "rose"),
        ("ÄRZ", "ärz"),
        ("März", "Ma\u0308rz"),
        ("rose", "rose "),
    ],
)
def test_folders_that_some_systems_confuse_are_both_named(first: str, second: str) -> None:
    with pytest.raises(LabelsError) as caught:
        check_class_ids(["iris", first, second])
    assert repr(first) in str(caught.value)
    assert repr(second) in str(caught.value)


def test_similar_folders_are_accepted() -> None:
    check_class_ids(["rose", "roses", "rose-red", "rose red", "rose_red", "Strauß", "Strauss"])


@pytest.mark.parametrize("name", ["new\nline", "tab\t", "\udcff", "\u2028"])
def test_an_unusable_folder_name_is_shown_escaped(name: str) -> None:
    with pytest.raises(LabelsError) as caught:
        check_class_ids(["rose", name])
    assert ascii(name) in str(caught.value)
