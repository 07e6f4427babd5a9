"""What is known of the data set's flowers: scientific names, families, other names.

flowers.json -> Flower, for each class whose id and name are the data set's

A checkpoint may have other classes; of those nothing is claimed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from model.labels import FlowerClass

FLOWERS_FILE: Final = Path(__file__).with_name("flowers.json")

Rank = Literal["species", "genus", "hybrid", "cultivar", "uncertain"]


@dataclass(frozen=True)
class Flower:
    """One class and what is known of it.

    Attributes:
        class_id: The name of its folder, "18".
        name: The common name as the data set spells it, "peruvian lily".
        display_name: The common name as people write it, "Peruvian lily".
        scientific_name: As narrow as is certain: a genus where the common name or the photos fit
            several of its species; None where nothing is certain.
        rank: What the scientific name is the name of; "uncertain" where there is none.
        family: In Latin; None where nothing is known of the class.
        synonyms: Other scientific names under which it is found.
        other_names: Other common names.
        note: For people: where the name misleads, or what else it may mean; may be empty.
    """

    class_id: str
    name: str
    display_name: str
    scientific_name: str | None = None
    rank: Rank = "uncertain"
    family: str | None = None
    synonyms: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    note: str = ""

    @property
    def slug(self) -> str:
        """Its part of an address: "18-peruvian-lily"."""
        words = re.sub(r"[\W_]+", "-", self.name.lower().replace("'", "")).strip("-")
        return f"{self.class_id}-{words}".strip("-")

    def matches(self, query: str) -> bool:
        """Tell whether each word of `query` begins a word of one of its names or its family."""
        names = (
            self.name,
            self.display_name,
            self.scientific_name or "",
            self.family or "",
            *self.synonyms,
            *self.other_names,
        )
        text = " " + _plain(" ".join(names))
        return all(f" {word}" in text for word in _plain(query).split())


def describe_class(item: FlowerClass) -> Flower:
    """Return what is known of a class; nothing but its name where it is none of the data set's."""
    flower = _flowers().get(item.class_id)
    if flower is not None and flower.name == item.name:
        return flower
    return Flower(item.class_id, item.name, item.name[:1].upper() + item.name[1:])


def describe_classes(items: Iterable[FlowerClass]) -> list[Flower]:
    """Return what is known of each class, by name."""
    return sorted(map(describe_class, items), key=lambda flower: _plain(flower.display_name))


@cache
def sources() -> dict[str, str]:
    """Return what the facts rest on, in sentences."""
    return dict(_contents()["sources"])


@cache
def _flowers() -> dict[str, Flower]:
    flowers = (
        Flower(
            **{
                **values,
                "synonyms": tuple(values["synonyms"]),
                "other_names": tuple(values["other_names"]),
            }
        )
        for values in _contents()["flowers"]
    )
    return {flower.class_id: flower for flower in flowers}


def _contents() -> dict[str, Any]:
    contents: dict[str, Any] = json.loads(FLOWERS_FILE.read_text(encoding="utf-8"))
    return contents


def _plain(text: str) -> str:
    """Write a text as words alone: in lower case, without apostrophes, hyphens and the like."""
    return re.sub(r"[\W_]+", " ", text.lower().replace("'", "").replace("’", "")).strip()
