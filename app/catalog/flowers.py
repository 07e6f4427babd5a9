"""What is known of the data set's flowers: scientific names, families, other names, translations.

flowers.json, flowers.de.json -> Flower, for each class whose id and name are the data set's

A checkpoint may have other classes; of those nothing is claimed.
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
_LANGUAGE: Final = "en"  # of that file; other languages have one of their own beside it

Rank = Literal["species", "genus", "hybrid", "cultivar", "uncertain"]


@dataclass(frozen=True)
class Words:
    """What a flower is called, and what is said of it, in one language.

    Attributes:
        display_name: The common name; None where none is certain.
        other_names: Other common names.
        note: As that of the flower.
    """

    display_name: str | None = None
    other_names: tuple[str, ...] = ()
    note: str = ""


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
        translations: The same in other languages, by their code, "de".
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
    translations: Mapping[str, Words] = field(default_factory=dict, hash=False)

    @property
    def slug(self) -> str:
        """Its part of an address: "18-peruvian-lily"."""
        words = re.sub(r"[\W_]+", "-", self.name.lower().replace("'", "")).strip("-")
        return f"{self.class_id}-{words}".strip("-")

    def words(self, language: str) -> Words:
        """What is said of it in a language; nothing where nothing is known."""
        if language == _LANGUAGE:
            return Words(self.display_name, self.other_names, self.note)
        return self.translations.get(language, Words())

    def name_in(self, language: str) -> str:
        """Its common name in a language; the English one where none is certain."""
        return self.words(language).display_name or self.display_name

    @property
    def names(self) -> tuple[str, ...]:
        """All names by which it is found, in every language."""
        names = [self.name, self.scientific_name, self.family, *self.synonyms]
        for words in (self.words(_LANGUAGE), *self.translations.values()):
            names += [words.display_name, *words.other_names]
        return tuple(name for name in names if name)

    def matches(self, query: str) -> bool:
        """Tell whether each word of `query` begins a word of one of its names or its family."""
        text = " " + _plain(" ".join(self.names))
        return all(f" {word}" in text for word in _plain(query).split())


def describe_class(item: FlowerClass) -> Flower:
    """Return what is known of a class; nothing but its name where it is none of the data set's."""
    flower = _flowers().get(item.class_id)
    if flower is not None and flower.name == item.name:
        return flower
    return Flower(item.class_id, item.name, item.name[:1].upper() + item.name[1:])


def describe_classes(items: Iterable[FlowerClass], language: str = _LANGUAGE) -> list[Flower]:
    """Return what is known of each class, by its name in a language."""
    return sorted(map(describe_class, items), key=lambda flower: _plain(flower.name_in(language)))


def sources(language: str = _LANGUAGE) -> dict[str, str]:
    """Return what the facts rest on, in sentences of a language."""
    return dict(_contents(language)["sources"])


@cache
def _flowers() -> dict[str, Flower]:
    translations: dict[str, dict[str, Words]] = {}
    for path in sorted(FLOWERS_FILE.parent.glob("flowers.*.json")):
        language = path.suffixes[0].removeprefix(".")
        for values in _contents(language)["flowers"]:
            words = Words(values["display_name"], tuple(values["other_names"]), values["note"])
            translations.setdefault(values["class_id"], {})[language] = words
    return {
        values["class_id"]: Flower(
            **{
                **values,
                "synonyms": tuple(values["synonyms"]),
                "other_names": tuple(values["other_names"]),
                "translations": translations[values["class_id"]],
            }
        )
        for values in _contents(_LANGUAGE)["flowers"]
    }


@cache
def _contents(language: str) -> dict[str, Any]:
    suffix = ".json" if language == _LANGUAGE else f".{language}.json"
    path = FLOWERS_FILE.with_suffix(suffix)
    contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return contents


def _plain(text: str) -> str:
    """Write a text as words alone: in lower case, without accents, apostrophes and hyphens."""
    letters = unicodedata.normalize("NFKD", text.lower().replace("ß", "ss"))
    letters = re.sub("[\u0300-\u036f'’]", "", letters)
    return re.sub(r"[\W_]+", " ", letters).strip()
