"""Manifests of picture folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.data.picture_folder import (
    MANIFEST,
    Picture,
    PictureFolderError,
    read_manifest,
    write_manifest,
)

PICTURE = {
    "file": "18.webp",
    "class_id": "18",
    "title": "Alstroemeria",
    "author": "Curtis",
    "work": "The Botanical Magazine",
    "year": "1791",
    "licence": "Public domain",
}


def write(folder: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / MANIFEST).write_text(text)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    pictures = (Picture(**PICTURE), Picture(**{**PICTURE, "class_id": "19", "class_name": "x"}))
    write_manifest(tmp_path, pictures)
    assert read_manifest(tmp_path) == pictures


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../18.webp"},
        {"file": "/etc/18.webp"},
        {"file": "a/18.webp"},
        {"file": ".18.webp"},
        {"file": "18.svg"},
        {"file": "18.webp\n"},
        {"licence": ""},
        {"author": None},
        {"source": "javascript:alert(1)"},
        {"licensed": "CC0"},
    ],
)
def test_a_bad_picture_is_refused_with_the_name_of_the_field(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    write(tmp_path, {"pictures": [{**PICTURE, **change}]})
    with pytest.raises(PictureFolderError, match=next(iter(change))):
        read_manifest(tmp_path)


def test_an_error_names_the_place_of_the_picture(tmp_path: Path) -> None:
    write(tmp_path, {"pictures": [PICTURE, {**PICTURE, "class_id": "19", "year": 1791}]})
    with pytest.raises(PictureFolderError, match=r"pictures\.1\.year"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"pictures": 1}', '{"images": []}', "[" * 100_000]
)
def test_a_malformed_manifest_is_refused(tmp_path: Path, content: str) -> None:
    write(tmp_path, content)
    with pytest.raises(PictureFolderError):
        read_manifest(tmp_path)


def test_two_pictures_of_one_class_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"pictures": [PICTURE, {**PICTURE, "file": "b.webp"}]})
    with pytest.raises(PictureFolderError, match="18"):
        read_manifest(tmp_path)
