"""Class ids and their names, always in index order.

Class folders sort as text ("1", "10", "100", "101", …), so a class id is not its index. The
checkpoint stores the list.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import PetalscopeError


class LabelsError(PetalscopeError):
    """A file of category names that cannot be used."""


@dataclass(frozen=True)
class FlowerClass:
    """One class.

    Attributes:
        class_id: Name of its folder, such as "21".
        name: Common name, such as "fire lily".
    """

    class_id: str
    name: str


def read_category_names(path: Path) -> dict[str, str]:
    """Read `cat_to_name.json`: a JSON object from class id to common name.

    Raises:
        LabelsError: The file is missing, is not JSON, or is not an object of text to text.
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabelsError(f"There is no file of category names at {path}.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
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
        LabelsError: A class id has no name.
    """
    missing = [class_id for class_id in class_ids if class_id not in names]
    if missing:
        raise LabelsError(
            f"Class {', '.join(missing)} has no name; "
            "add it to the file of category names, or remove its folder."
        )
    return tuple(FlowerClass(class_id, names[class_id]) for class_id in class_ids)
