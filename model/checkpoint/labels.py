"""Class ids and their names, always in index order.

Class folders sort as text ("1", "10", "100", "101", …), so a class id is not its index. The
checkpoint stores the list.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.errors import PetalscopeError, join_names

# Unicode categories that break lines of text or cannot be encoded as UTF-8.
_UNUSABLE_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


class LabelsError(PetalscopeError):
    """Class ids or names that cannot be used."""


@dataclass(frozen=True)
class FlowerClass:
    """One class.

    Attributes:
        class_id: Name of its folder, such as "21" or "rose".
        name: Common name, such as "fire lily" or "rose".
    """

    class_id: str
    name: str

    @property
    def label(self) -> str:
        """The name with the class id, "fire lily (21)"; the name alone if the two are equal."""
        if _key(self.class_id) == _key(self.name):
            return self.name
        return f"{self.name} ({self.class_id})"


def read_category_names(path: Path) -> dict[str, str]:
    """Read `cat_to_name.json`: a JSON object from class id to common name.

    Raises:
        LabelsError: The file is missing, is not JSON, or is not an object of text to text.
    """
    try:
        # Editors on Windows may begin the file with a byte order mark.
        names = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise LabelsError(f"There is no file of category names at {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise LabelsError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise LabelsError(f'{path} must hold one JSON object such as {{"21": "fire lily"}}.')
    return names


def name_classes(class_ids: Sequence[str], names: dict[str, str]) -> tuple[FlowerClass, ...]:
    """Pair class ids with their names.

    Args:
        class_ids: In index order.
        names: Map from class id to common name.

    Returns:
        The classes in index order.

    Raises:
        LabelsError: A class id has no name, its name is empty or has a line break, or two classes
            have the same name.
    """
    missing = [class_id for class_id in class_ids if class_id not in names]
    if missing:
        raise LabelsError(
            f"Class {join_names(missing)} has no name; "
            "add it to the file of category names, or remove its folder."
        )
    named: dict[str, str] = {}
    for class_id in class_ids:
        name = names[class_id]
        if not name.strip() or not _is_printable(name):
            raise LabelsError(
                f"The name {name!a} of class {class_id} is empty or contains control characters; "
                "correct it in the file of category names."
            )
        other = named.setdefault(_key(name), class_id)
        if other != class_id:
            raise LabelsError(
                f"The classes {other} and {class_id} have the same name, {name}; give them "
                "different names, or put their photos into one folder."
            )
    return tuple(FlowerClass(class_id, names[class_id].strip()) for class_id in class_ids)


def name_by_folders(class_ids: Sequence[str], names_file: Path) -> tuple[FlowerClass, ...]:
    """Return classes that have the names of their folders.

    Args:
        class_ids: Names of the folders, in index order.
        names_file: The missing file of category names, for messages.

    Raises:
        LabelsError: A folder is numbered instead of named.
    """
    if numbers := [class_id for class_id in class_ids if class_id.isdecimal()]:
        raise LabelsError(
            f"Class {join_names(numbers)} has a number instead of a name; add {names_file}, "
            'such as {"21": "fire lily"}, or rename the folder.'
        )
    return tuple(FlowerClass(class_id, _normalize(class_id)) for class_id in class_ids)


def check_class_ids(class_ids: Sequence[str]) -> None:
    """Check that the names of class folders can be told apart on every system and in every file.

    Raises:
        LabelsError: There are fewer than two, one contains control characters or is not UTF-8, or
            two differ only by case, spaces or Unicode normalization.
    """
    if len(class_ids) < 2:
        found = f"only {class_ids[0]}" if class_ids else "none"
        raise LabelsError(
            f"A model needs at least two classes to choose from, and there is {found}; add a "
            "folder of photos of another flower, or of other things."
        )
    seen: dict[str, str] = {}
    for class_id in class_ids:
        if not _is_printable(class_id):
            raise LabelsError(
                f"The name of the class folder {class_id!a} contains control characters or is not "
                "UTF-8; rename it."
            )
        other = seen.setdefault(_key(class_id), class_id)
        if other != class_id:
            raise LabelsError(
                f"The class folders {other!r} and {class_id!r} differ only by upper and lower "
                "case, spaces or the encoding of accents; merge them, or rename one."
            )


def _is_printable(text: str) -> bool:
    return _UNUSABLE_CATEGORIES.isdisjoint(map(unicodedata.category, text))


def _key(text: str) -> str:
    """Return a text without differences of case, spaces and Unicode normalization."""
    return _normalize(_normalize(text).lower())


def _normalize(text: str) -> str:
    # macOS may store "é" as two characters, which a search for "é" would not find.
    return " ".join(unicodedata.normalize("NFC", text).split())
