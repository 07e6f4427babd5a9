"""Catalog of the flowers of Oxford 102: names, families, colours, toxicity and look-alikes.

An entry applies only to classes with the data set's ID and name. Other classes of a checkpoint,
such as those of people's own photos, have their name only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Final, Literal

from app.catalog import files
from app.catalog.files import ENGLISH, Colour, Rank, Source, Toxicity
from app.catalog.search import normalize
from model.checkpoint.labels import FlowerClass

_SOFT_HYPHEN: Final = "\xad"
# Languages whose script has no alphabetical order: lists follow the scientific names.
WITHOUT_LETTERS: Final = frozenset({"zh"})

Sentence = Literal["note", "features", "toxicity_note"]


@dataclass(frozen=True)
class CommonNames:
    """Common names of a flower and sentences about it, in one language.

    Attributes:
        display_name: The common name; None if none is certain.
        other_names: Other common names.
        note: Explanation of a misleading or ambiguous name; may be empty.
        features: How the flower is recognized in a photo; may be empty.
        toxicity_note: Explanation of the toxicity; may be empty.
    """

    display_name: str | None = None
    other_names: tuple[str, ...] = ()
    note: str = ""
    features: str = ""
    toxicity_note: str = ""


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
        colours: Colours of the flowers in the data set's photos.
        toxicity: Toxicity; None if the class is not in the catalog.
        look_alikes: Class IDs, or scientific names of plants that are not in the data set.
        sources: Codes of the sources of the scientific name and the family.
        other_names: Other common names.
        note: Explanation of a misleading or ambiguous name; may be empty.
        features: How the flower is recognized in a photo; may be empty.
        toxicity_note: Explanation of the toxicity; may be empty.
        translations: Common names and sentences by language code, "de".
    """

    class_id: str
    name: str
    display_name: str
    scientific_name: str | None = None
    rank: Rank = "uncertain"
    family: str | None = None
    synonyms: tuple[str, ...] = ()
    colours: tuple[Colour, ...] = ()
    toxicity: Toxicity | None = None
    look_alikes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    note: str = ""
    features: str = ""
    toxicity_note: str = ""
    translations: Mapping[str, CommonNames] = field(default_factory=dict, hash=False)

    @property
    def in_catalog(self) -> bool:
        """True if the catalog has an entry; every entry has a family."""
        return self.family is not None

    @property
    def repeats_class_id(self) -> bool:
        """True if the class ID says the same as the name: "rose", or "wild_rose"."""
        return _hyphenate(self.class_id) == _hyphenate(self.name)

    @cached_property
    def slug(self) -> str:
        """The last part of its URL: "18-peruvian-lily", or a class ID that is a word, "rose"."""
        class_id, words = unicodedata.normalize("NFC", self.class_id), _hyphenate(self.name)
        return f"{class_id}-{words}" if class_id.isdecimal() and words else class_id

    def common_names(self, language: str) -> CommonNames:
        """Return the names and sentences in a language; empty if there is no translation."""
        if language == ENGLISH:
            return CommonNames(
                self.display_name, self.other_names, self.note, self.features, self.toxicity_note
            )
        return self.translations.get(language, CommonNames())

    def name_in(self, language: str) -> str:
        """Return the common name in a language, else the scientific name, else the display name."""
        return self._name_and_language(language)[0]

    def name_language(self, language: str) -> str:
        """Return the language of `name_in`; "" outside the catalog, where it is not known."""
        return self._name_and_language(language)[1]

    def sort_name(self, language: str) -> str:
        """Return the normalized name that gives the flower its place in a list."""
        if language in WITHOUT_LETTERS:
            return normalize(self.scientific_name or self.display_name)
        return normalize(self.name_in(language))

    def family_in(self, language: str) -> tuple[str, str]:
        """Return the family's name in a language, else its scientific name, and its language.

        Both are empty if the class is not in the catalog.
        """
        if self.family is None:
            return "", ""
        name = _family_names(self.family).get(language)
        return (name, language) if name else (self.family, "la")

    def sentence(self, kind: Sentence, language: str) -> tuple[str, str]:
        """Return a sentence in a language, else in English, and the language of the result."""
        translated: str = getattr(self.common_names(language), kind)
        return (translated, language) if translated else (getattr(self, kind), ENGLISH)

    def _name_and_language(self, language: str) -> tuple[str, str]:
        if not self.in_catalog:
            return self.display_name, ""
        name = self.common_names(language).display_name
        if name:
            return name, language
        return (self.scientific_name, "la") if self.scientific_name else (self.display_name, "en")

    @property
    def names(self) -> tuple[str, ...]:
        """All searchable names, in every language."""
        names = [self.name, self.scientific_name, *self.synonyms]
        for common in (self.common_names(ENGLISH), *self.translations.values()):
            names += [common.display_name, *common.other_names]
        return tuple(name for name in names if name)

    @property
    def family_names(self) -> tuple[str, ...]:
        """Names of the family in every language; empty if the class is not in the catalog."""
        return (self.family, *_family_names(self.family).values()) if self.family else ()


@dataclass(frozen=True)
class LookAlike:
    """A plant that is easily taken for a flower.

    Attributes:
        name: Common name, else scientific name.
        name_language: Language of the name.
        scientific_name: Scientific name; None if it is uncertain.
        features: How to tell the plant.
        features_language: Language of `features`.
        flower: The plant's own entry; None if it is not in the data set.
    """

    name: str
    name_language: str
    scientific_name: str | None
    features: str
    features_language: str
    flower: Flower | None


def look_alikes(flower: Flower, language: str) -> list[LookAlike]:
    """Return the look-alikes of a flower, with names and sentences in a language."""
    return [_look_alike(key, language) for key in flower.look_alikes]


def _look_alike(key: str, language: str) -> LookAlike:
    other = _flowers().get(key)
    if other is not None:
        return LookAlike(
            other.name_in(language),
            other.name_language(language),
            other.scientific_name,
            *other.sentence("features", language),
            other,
        )
    catalog = files.texts()
    used = language if language in catalog and key in catalog[language].species else ENGLISH
    species = catalog[used].species[key]
    name, name_language = (species.name, used) if species.name else (key, "la")
    return LookAlike(name, name_language, key, species.features, used, None)


def describe_class(item: FlowerClass) -> Flower:
    """Return the catalog entry of a class; only its name if it is not in the catalog."""
    flower = _flowers().get(item.class_id)
    if flower is not None and flower.name == item.name:
        return flower
    # A folder name such as "wild_rose" is the class name of people's own photos.
    name = item.name.replace("_", " ").strip() or item.name
    return Flower(item.class_id, item.name, name[:1].upper() + name[1:])


def describe_classes(items: Iterable[FlowerClass], language: str = ENGLISH) -> list[Flower]:
    """Return the catalog entries of classes, sorted for readers of a language."""
    return sorted(map(describe_class, items), key=lambda flower: flower.sort_name(language))


def sources_of(flowers: Iterable[Flower]) -> dict[str, Source]:
    """Return the sources of flowers by code, without those of common names."""
    used: set[str] = set()
    for flower in flowers:
        used.update(flower.sources)
        used.update(flower.toxicity.sources if flower.toxicity else ())
    return {code: source for code, source in files.facts().sources.items() if code in used}


def catalog_sources() -> tuple[Source, ...]:
    """Return all sources of the catalog, those of common names included, by title."""
    return tuple(sorted(files.facts().sources.values(), key=lambda source: normalize(source.title)))


def families(classes: Iterable[FlowerClass]) -> list[str]:
    """Return the scientific names of the families of classes, sorted."""
    return sorted({item.family for item in map(describe_class, classes) if item.family})


@cache
def hyphenated_names(language: str) -> dict[str, str]:
    """Return the common names with long words in a language, with soft hyphens, by plain name."""
    catalog = files.texts()
    if language not in catalog:
        return {}
    return {
        _without_breaks(name): name.replace(files.BREAK_MARK, _SOFT_HYPHEN)
        for flower in catalog[language].flowers.values()
        for name in flower.names
        if files.BREAK_MARK in name
    }


@cache
def _family_names(family: str) -> dict[str, str]:
    """Return the names of a family by language."""
    return {
        language: contents.families[family]
        for language, contents in files.texts().items()
        if family in contents.families
    }


@cache
def _flowers() -> dict[str, Flower]:
    catalog = files.texts()
    return {
        item.class_id: _flower(
            item,
            {
                language: _common_names(contents.flowers.get(item.class_id, files.FlowerTexts()))
                for language, contents in catalog.items()
            },
        )
        for item in files.facts().flowers
    }


def _flower(item: files.FlowerFacts, names: dict[str, CommonNames]) -> Flower:
    english = names.pop(ENGLISH)
    return Flower(
        **{name: getattr(item, name) for name in files.FlowerFacts.model_fields},
        display_name=english.display_name or item.name,
        other_names=english.other_names,
        note=english.note,
        features=english.features,
        toxicity_note=english.toxicity_note,
        translations=names,
    )


def _common_names(item: files.FlowerTexts) -> CommonNames:
    names = tuple(map(_without_breaks, item.names))
    return CommonNames(
        names[0] if names else None,
        names[1:],
        item.note or "",
        item.features or "",
        item.toxicity_note or "",
    )


def _without_breaks(name: str) -> str:
    return name.replace(files.BREAK_MARK, "")


def _hyphenate(text: str) -> str:
    """Return the words of a text in lower case, joined by hyphens."""
    letters = unicodedata.normalize("NFC", text).lower().replace("'", "")
    return re.sub(r"[\W_]+", "-", letters).strip("-")
