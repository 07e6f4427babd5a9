"""Tests of the flower catalog: completeness, spelling and search."""

from __future__ import annotations

import json
import re

import pytest

from app.catalog.flowers import (
    FLOWERS_FILE,
    CommonNames,
    Flower,
    describe_class,
    describe_classes,
    sources,
)
from model.checkpoint.labels import FlowerClass, read_category_names
from tests.conftest import ROOT, TINY_CLASSES

NAMES = read_category_names(ROOT / "model" / "data" / "cat_to_name.json")
FLOWERS = describe_classes(FlowerClass(*item) for item in NAMES.items())

PATTERNS = {
    "species": r"[A-Z][a-z]+ [a-z]+",
    "genus": r"[A-Z][a-z]+",
    "hybrid": r"[A-Z][a-z]+ × [a-z]+",
    "cultivar": r"[A-Z][a-z]+( [a-z]+)? '[A-Z][\w ]+'",
}


# Every translation, as (flower, common names).
TRANSLATED = [
    pytest.param(flower, words, id=f"{language}-{flower.slug}")
    for flower in FLOWERS
    for language, words in flower.translations.items()
]
ENGLISH_WORDS = re.compile(r"\b(a|and|are|for|is|its|of|some|the|too)\b")


def letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


def test_the_catalog_contains_each_class_of_the_data_set_once() -> None:
    values = json.loads(FLOWERS_FILE.read_text(encoding="utf-8"))["flowers"]
    assert [(item["class_id"], item["name"]) for item in values] == sorted(
        NAMES.items(), key=lambda item: int(item[0])
    )


@pytest.mark.parametrize("flower", FLOWERS, ids=lambda flower: flower.slug)
def test_scientific_names_match_the_format_of_their_rank(flower: Flower) -> None:
    if flower.rank == "uncertain":
        assert flower.scientific_name is None
        assert flower.note
    else:
        assert re.fullmatch(PATTERNS[flower.rank], flower.scientific_name or "")
    assert re.fullmatch(r"[A-Z][a-z]+aceae", flower.family or "")
    assert flower.display_name[0].isupper()
    for name in flower.synonyms:
        assert re.fullmatch(r"[A-Z][a-z]+( [a-z]+)?", name)
        assert name != flower.scientific_name
    names = [flower.display_name, *flower.other_names]
    assert len({name.lower() for name in names}) == len(names)
    assert flower.note == flower.note.strip()
    assert not flower.note or flower.note.endswith(".")


def test_every_class_has_a_german_entry() -> None:
    file = FLOWERS_FILE.with_suffix(".de.json")
    translated = json.loads(file.read_text(encoding="utf-8"))["flowers"]
    assert [(item["class_id"], item["name"]) for item in translated] == sorted(
        NAMES.items(), key=lambda item: int(item[0])
    )
    assert {language for flower in FLOWERS for language in flower.translations} == {"de"}
    nameless = {flower.name for flower in FLOWERS if not flower.common_names("de").display_name}
    assert nameless == {"pelargonium", "bishop of llandaff", "cautleya spicata", "ball moss"}


@pytest.mark.parametrize(("flower", "words"), TRANSLATED)
def test_a_translation_has_a_note_if_english_has_one(flower: Flower, words: CommonNames) -> None:
    assert bool(words.note) == bool(flower.note)
    assert not words.note or words.note.endswith(".")
    assert not ENGLISH_WORDS.search(words.note.lower())
    # The translation mentions every species that the English note mentions.
    species = re.findall(
        r"(?!The |Several )[A-Z][a-z]+ (?:× )?[a-z]+(?:us|is|um|a|i)\b", flower.note
    )
    assert [name for name in species if name not in words.note] == []
    names = [name for name in (words.display_name, *words.other_names) if name]
    assert all(re.fullmatch(r"[A-ZÄÖÜ][\wäöüß]+([ -][\wäöüß]+)*", name) for name in names)
    assert len({name.lower() for name in names}) == len(names)


def test_german_names_are_unique() -> None:
    names = [flower.name_in("de") for flower in FLOWERS]
    assert len(set(names)) == len(names)


def test_display_names_correct_three_class_names() -> None:
    differing = {
        flower.display_name
        for flower in FLOWERS
        if letters(flower.display_name) != letters(flower.name)
    }
    assert differing == {"Love-in-a-mist", "Barberton daisy", "Lotus"}


def test_each_genus_has_one_family() -> None:
    families: dict[str, set[str | None]] = {}
    for flower in FLOWERS:
        if flower.scientific_name:
            families.setdefault(flower.scientific_name.split()[0], set()).add(flower.family)
    assert {genus: found for genus, found in families.items() if len(found) > 1} == {}


def test_slugs_are_unique() -> None:
    slugs = {flower.slug for flower in FLOWERS}
    assert len(slugs) == 102
    assert all(re.fullmatch(r"\d+(-[a-z]+)+", slug) for slug in slugs)
    assert {"18-peruvian-lily", "12-colts-foot", "33-love-in-the-mist"} <= slugs


def test_sources_are_translated() -> None:
    assert sources()["facts"] != sources("de")["facts"]


def scientific_name(class_id: str, name: str) -> str | None:
    return describe_class(FlowerClass(class_id, name)).scientific_name


def test_scientific_names_describe_the_photos() -> None:
    assert scientific_name("18", "peruvian lily") == "Alstroemeria"
    assert scientific_name("89", "watercress") == "Tropaeolum majus"
    assert scientific_name("58", "geranium") == "Pelargonium × hortorum"
    assert scientific_name("99", "bromelia") is None


@pytest.mark.parametrize(
    ("class_id", "name"), [("18", "rose"), ("103", "peruvian lily"), ("roses", "rose")]
)
def test_other_classes_have_no_catalog_facts(class_id: str, name: str) -> None:
    assert scientific_name(class_id, name) is None
    flower = describe_class(FlowerClass(class_id, name))
    assert (flower.name, flower.family, flower.rank) == (name, None, "uncertain")
    assert flower.display_name == name.capitalize()
    assert not flower.in_catalog


@pytest.mark.parametrize(
    ("class_id", "name", "display_name", "slug"),
    [
        ("rose", "rose", "Rose", "rose"),
        ("Rose", "rose", "Rose", "Rose"),
        ("wild_rose", "wild_rose", "Wild rose", "wild_rose"),
        ("wild_rose", "wild rose", "Wild rose", "wild_rose"),
        ("rosa", "rose", "Rose", "rosa-rose"),
        ("rose-red", "red rose", "Red rose", "rose-red-red-rose"),
        ("バラ", "バラ", "バラ", "バラ"),
        ("Ma\u0308rzenbecher", "Märzenbecher", "Märzenbecher", "Märzenbecher"),
        ('rose "Alba"', 'rose "Alba"', 'Rose "Alba"', 'rose "Alba"'),
        ("-rose", "-rose", "-rose", "-rose"),
        ("-", "?", "?", "-"),
        ("_", "_", "_", "_"),
    ],
)
def test_names_are_not_doubled_in_urls(
    class_id: str, name: str, display_name: str, slug: str
) -> None:
    flower = describe_class(FlowerClass(class_id, name))
    assert (flower.display_name, flower.slug) == (display_name, slug)


def test_the_language_of_a_name_is_known_in_the_catalog_only() -> None:
    lily, nameless, own = map(
        describe_class,
        (
            FlowerClass("18", "peruvian lily"),
            FlowerClass("55", "pelargonium"),
            FlowerClass("Märzenbecher", "Märzenbecher"),
        ),
    )
    assert [lily.name_language(code) for code in ("en", "de")] == ["en", "de"]
    assert [nameless.name_language(code) for code in ("en", "de")] == ["en", "en"]
    assert [own.name_language(code) for code in ("en", "de")] == ["", ""]


@pytest.mark.parametrize(
    ("name", "query", "found"),
    [
        ("Märzenbecher", "marzen", True),
        ("Märzenbecher", "ma\u0308rz", True),
        ("african_daisy", "daisy", True),
        ("バラ", "バラ", True),
        ("バラ", "ハラ", True),
        ("गुलाब", "गुलाब", True),
        ("rose", "rosé", True),
        ("rose", "o", False),
    ],
)
def test_own_names_are_found_in_any_script(name: str, query: str, found: bool) -> None:
    assert describe_class(FlowerClass(name, name)).matches(query) is found


def test_flowers_are_sorted_by_name() -> None:
    names = [flower.name for flower in describe_classes(TINY_CLASSES)]
    assert names == sorted(item.name for item in TINY_CLASSES)
    german = [flower.name_in("de") for flower in describe_classes(TINY_CLASSES, "de")]
    assert german == sorted(german)


def test_umlauts_are_sorted_with_their_base_letters() -> None:
    classes = [FlowerClass(*item) for item in NAMES.items()]
    names = [flower.name_in("de") for flower in describe_classes(classes, "de")]
    index = names.index("Stängelloser Enzian")
    assert names[index - 1 : index + 2] == ["Sonnenblume", "Stängelloser Enzian", "Staudenphlox"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("peruvian", {"18"}),
        ("  ALSTRO ", {"18"}),
        ("amaryllidaceae", {"37", "42", "91"}),
        ("colts foot", {"12"}),
        ("Colt’s foot", {"12"}),
        ("x-eyed", set()),
        ("eyed black", {"63"}),
        ("gaura lindheimeri", {"57"}),
        ("dahlia", {"56", "59", "60"}),
        ("dahlie", {"56", "59", "60"}),
        ("inkalilie", {"18"}),
        ("LÖWENM", {"11"}),
        ("lowenm", {"11"}),
        ("Hahnenfuss", {"48"}),
        ("gretel busch", {"33"}),
        ("nothing like this", set()),
        ("%_<", {flower.class_id for flower in FLOWERS}),
        ("", {flower.class_id for flower in FLOWERS}),
    ],
)
def test_a_search_finds_words_of_any_name(query: str, found: set[str]) -> None:
    assert {flower.class_id for flower in FLOWERS if flower.matches(query)} == found
