"""The catalog's files: facts.json with IDs and codes, and names and sentences in languages/*.json.

A language file may leave out names of families, which have scientific ones, and sentences; readers
then see the English sentences.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

FOLDER: Final = Path(__file__).parent
ENGLISH: Final = "en"  # complete, and the fallback
BREAK_MARK: Final = "|"  # in a common name: a narrow column may break the word here

Rank = Literal["species", "genus", "hybrid", "cultivar", "uncertain"]
# `unknown`: no source rates the plant. `none_known`: sources list it as harmless.
ToxicityLevel = Literal["unknown", "none_known", "mild", "severe"]
POISONOUS: Final = frozenset[ToxicityLevel]({"mild", "severe"})
PlantPart = Literal[
    "all", "leaves", "flowers", "seeds", "fruit", "sap", "roots", "bulb", "corm", "tuber", "rhizome"
]
Colour = Literal["white", "yellow", "orange", "red", "pink", "purple", "blue"]


def _stripped(text: str) -> str:
    if not text or text != text.strip():
        raise ValueError("is empty or has spaces around it")
    return text


_Text = Annotated[str, AfterValidator(_stripped)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Model):
    """A source of facts.

    Attributes:
        title: Publisher and work.
        url: Address of the page or of the site; None if there is none.
    """

    title: _Text
    url: Annotated[str, Field(pattern="^https?://")] | None


class Toxicity(_Model):
    """Toxicity of a plant, for people and pets apart.

    Attributes:
        people: For people.
        pets: For cats and dogs.
        parts: The poisonous parts; empty if the sources name none.
        sources: Codes of the sources; empty if nothing was found.
    """

    people: ToxicityLevel
    pets: ToxicityLevel
    parts: tuple[PlantPart, ...]
    sources: tuple[str, ...]

    @property
    def is_poisonous(self) -> bool:
        """True if a source calls the plant poisonous to people or pets."""
        return not POISONOUS.isdisjoint((self.people, self.pets))


class FlowerFacts(_Model):
    """Facts about one class, without names and sentences; see `flowers.Flower`."""

    class_id: _Text
    name: _Text
    scientific_name: _Text | None
    rank: Rank
    family: _Text
    synonyms: tuple[_Text, ...]
    colours: Annotated[tuple[Colour, ...], Field(min_length=1)]
    toxicity: Toxicity
    look_alikes: tuple[_Text, ...]
    sources: Annotated[tuple[str, ...], Field(min_length=1)]


class Facts(_Model):
    """Contents of facts.json."""

    sources: dict[str, Source]
    flowers: tuple[FlowerFacts, ...]


class FlowerTexts(_Model):
    """Names and sentences of one flower in one language.

    Attributes:
        names: Codes of the sources by common name, the usual name first. Long words have a
            `BREAK_MARK` between their parts.
        note: Explanation of a misleading or ambiguous name.
        features: How the flower is recognized in a photo.
        toxicity_note: Explanation of the toxicity.
    """

    names: dict[_Text, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    note: _Text | None = None
    features: _Text | None = None
    toxicity_note: _Text | None = None


class SpeciesTexts(_Model):
    """A look-alike that the model does not know, in one language.

    Attributes:
        name: Common name; None if none is certain.
        features: How it differs from the flower that it looks like.
    """

    name: _Text | None
    features: _Text


class Texts(_Model):
    """Contents of one language file.

    Attributes:
        families: Names of families by scientific name.
        species: Look-alikes that the model does not know, by scientific name.
        flowers: Names and sentences by class ID.
    """

    families: dict[str, _Text] = {}
    species: dict[str, SpeciesTexts] = {}
    flowers: dict[str, FlowerTexts]


@cache
def facts() -> Facts:
    """Return the contents of facts.json."""
    return Facts.model_validate(_read(FOLDER / "facts.json"))


@cache
def texts() -> dict[str, Texts]:
    """Return the contents of the language files by language code, English first."""
    paths = {path.stem: path for path in sorted((FOLDER / "languages").glob("*.json"))}
    order = [ENGLISH, *(language for language in paths if language != ENGLISH)]
    return {language: Texts.model_validate(_read(paths[language])) for language in order}


def _read(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))
