"""Catalog of the flowers of Oxford 102: scientific and common names, families, translations.

An entry applies only to classes with the data set's ID and name. Other classes of a checkpoint,
such as those of people's own photos, have their name only.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from model.checkpoint.labels import FlowerClass

FLOWERS_FILE: Final = Path(__file__).with_name("flowers.json")
_LANGUAGE: Final = "en"  # of flowers.json; translations are in flowers.<language>.json

Rank = Literal["species", "genus", "hybrid", "cultivar", "uncertain"]


@dataclass(frozen=True)
class CommonNames:
    """Common names of a flower and the note about it, in one language.

    Attributes:
        display_name: The common name; None if none is certain.
        other_names: Other common names.
        note: Translation of the flower's note.
    """

    display_name: str | None = None
    other_names: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Flower:
    """One class, with its catalog entry if there is one.

    Attributes:
        class_id: Folder name in the data set, "18".
        name: Class name in the data set, "peruvian lily".
        display_name: Common name for display: "Peruvian lily", in English if from the catalog.
        scientific_name: The narrowest certain name: a genus if the common name or the photos cover
            several of its species; None if nothing is certain.
        rank: Rank of the scientific name; "uncertain" if there is none.
        family: Scientific name of the family; None if the class is not in the catalog.
        synonyms: Other scientific names.
        other_names: Other common names.
        note: Explanation of a misleading or ambiguous name; may be empty.
        translations: Common names and notes by language code, "de".
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
    translations: Mapping[str, CommonNames] = field(default_factory=dict, hash=False)

    @property
    def in_catalog(self) -> bool:
        """True if the catalog has an entry; every entry has a family."""
        return self.family is not None

    @property
    def repeats_class_id(self) -> bool:
        """True if the class ID says the same as the name: "rose", or "wild_rose"."""
        return _hyphenate(self.class_id) == _hyphenate(self.name)

    @property
    def slug(self) -> str:
        """The last part of its URL: "18-peruvian-lily", or "rose" if the class ID is the name."""
        class_id, words = unicodedata.normalize("NFC", self.class_id), _hyphenate(self.name)
        return class_id if self.repeats_class_id or not words else f"{class_id}-{words}"

    def common_names(self, language: str) -> CommonNames:
        """Return the common names in a language; empty if there is no translation."""
        if language == _LANGUAGE:
            return CommonNames(self.display_name, self.other_names, self.note)
        return self.translations.get(language, CommonNames())

    def name_in(self, language: str) -> str:
        """Return the common name in a language, or the display name if there is no translation."""
        return self.common_names(language).display_name or self.display_name

    def name_language(self, language: str) -> str:
        """Return the language of `name_in`; "" outside the catalog, where it is not known."""
        if not self.in_catalog:
            return ""
        return language if self.common_names(language).display_name else _LANGUAGE

    @property
    def names(self) -> tuple[str, ...]:
        """All searchable names, in every language."""
        names = [self.name, self.scientific_name, self.family, *self.synonyms]
        for common in (self.common_names(_LANGUAGE), *self.translations.values()):
            names += [common.display_name, *common.other_names]
        return tuple(name for name in names if name)

    def matches(self, query: str) -> bool:
        """Return True if each word of `query` starts a word of its names or family."""
        text = " " + _normalize(" ".join(self.names))
        return all(f" {word}" in text for word in _normalize(query).split())


def describe_class(item: FlowerClass) -> Flower:
    """Return the catalog entry of a class; only its name if it is not in the catalog."""
    flower = _flowers().get(item.class_id)
    if flower is not None and flower.name == item.name:
        return flower
    # A folder name such as "wild_rose" is the class name of people's own photos.
    name = item.name.replace("_", " ").strip() or item.name
    return Flower(item.class_id, item.name, name[:1].upper() + name[1:])


def describe_classes(items: Iterable[FlowerClass], language: str = _LANGUAGE) -> list[Flower]:
    """Return the catalog entries of classes, sorted by common name in a language."""
    return sorted(
        map(describe_class, items), key=lambda flower: _normalize(flower.name_in(language))
    )


def sources(language: str = _LANGUAGE) -> dict[str, str]:
    """Return the sources of the catalog, in a language."""
    return dict(_load(language)["sources"])


@cache
def _flowers() -> dict[str, Flower]:
    translations: dict[str, dict[str, CommonNames]] = {}
    for path in sorted(FLOWERS_FILE.parent.glob("flowers.*.json")):
        language = path.suffixes[0].removeprefix(".")
        for values in _load(language)["flowers"]:
            translations.setdefault(values["class_id"], {})[language] = CommonNames(
                values["display_name"], tuple(values["other_names"]), values["note"]
            )
    return {
        values["class_id"]: Flower(
            **{
                **values,
                "synonyms": tuple(values["synonyms"]),
                "other_names": tuple(values["other_names"]),
                "translations": translations[values["class_id"]],
            }
        )
        for values in _load(_LANGUAGE)["flowers"]
    }


@cache
def _load(language: str) -> dict[str, Any]:
    suffix = ".json" if language == _LANGUAGE else f".{language}.json"
    path = FLOWERS_FILE.with_suffix(suffix)
    contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return contents


def _normalize(text: str) -> str:
    """Normalize for search: lower case, no accents or apostrophes, words separated by spaces."""
    letters = unicodedata.normalize("NFKD", text.lower().replace("ß", "ss"))
    letters = "".join(
        letter
        for letter in letters
        if unicodedata.category(letter)[0] != "M" and letter not in "'’"
    )
    return re.sub(r"[\W_]+", " ", letters).strip()


def _hyphenate(text: str) -> str:
    """Return the words of a text in lower case, joined by hyphens."""
    letters = unicodedata.normalize("NFC", text).lower().replace("'", "")
    return re.sub(r"[\W_]+", "-", letters).strip("-")
