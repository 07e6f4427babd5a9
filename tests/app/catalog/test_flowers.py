"""Tests of the flower catalog: completeness, sources, spelling and search."""

from __future__ import annotations

import re

import pytest

from app.catalog import files
from app.catalog.flowers import (
    Flower,
    describe_class,
    describe_classes,
    hyphenated_names,
    look_alikes,
    sources_of,
)
from app.catalog.search import search
from model.checkpoint.labels import FlowerClass, read_category_names
from tests.conftest import ROOT, TINY_CLASSES

NAMES = read_category_names(ROOT / "model" / "data" / "cat_to_name.json")
FLOWERS = describe_classes(FlowerClass(*item) for item in NAMES.items())
BY_ID = {flower.class_id: flower for flower in FLOWERS}
LANGUAGES = ["en", "de", "es", "fr", "it", "nl", "pt", "zh"]
TRANSLATED = ["de", "es", "fr", "zh"]  # with names of families and all sentences
COMPLETE = ["en", *TRANSLATED]

PATTERNS = {
    "species": r"[A-Z][a-z]+ [a-z]+",
    "genus": r"[A-Z][a-z]+",
    "hybrid": r"[A-Z][a-z]+ × [a-z]+",
    "cultivar": r"[A-Z][a-z]+( [a-z]+)? '[A-Z][\w ]+'",
}
ENGLISH_WORDS = re.compile(r"\b(and|are|for|is|its|of|some|the|too|with)\b")


def letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


def test_the_catalog_contains_each_class_of_the_data_set_once() -> None:
    facts = [(item.class_id, item.name) for item in files.facts().flowers]
    assert facts == sorted(NAMES.items(), key=lambda item: int(item[0]))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_file_names_classes_of_the_data_set_and_known_sources(language: str) -> None:
    contents = files.texts()[language]
    assert set(contents.flowers) <= set(NAMES)
    codes = {
        code for item in contents.flowers.values() for used in item.names.values() for code in used
    }
    assert codes <= set(files.facts().sources)


def test_the_languages_of_the_catalog() -> None:
    assert sorted(files.texts()) == sorted(LANGUAGES)
    assert next(iter(files.texts())) == "en"


def test_every_source_exists_and_is_used() -> None:
    used = {
        code for item in files.facts().flowers for code in (*item.sources, *item.toxicity.sources)
    }
    for contents in files.texts().values():
        for item in contents.flowers.values():
            used |= {code for codes in item.names.values() for code in codes}
    assert used == set(files.facts().sources)


@pytest.mark.parametrize("flower", FLOWERS, ids=lambda flower: flower.slug)
def test_toxicity_has_a_source_unless_it_is_unknown(flower: Flower) -> None:
    toxicity = flower.toxicity
    assert toxicity is not None
    if {toxicity.people, toxicity.pets} != {"unknown"}:
        assert toxicity.sources
        assert flower.toxicity_note
    assert toxicity.is_poisonous or not toxicity.parts
    assert "all" not in toxicity.parts or len(toxicity.parts) == 1


@pytest.mark.parametrize(
    ("class_id", "people", "pets", "parts"),
    [
        ("6", "none_known", "severe", ("all",)),  # one word for both would be dangerous
        ("9", "severe", "severe", ("all",)),
        ("21", "severe", "severe", ()),
        ("67", "unknown", "unknown", ()),
        ("88", "mild", "severe", ("tuber",)),
        ("89", "none_known", "none_known", ()),  # of nasturtium, not of real watercress
        ("94", "severe", "severe", ("leaves", "flowers")),
        ("10", "unknown", "none_known", ()),
    ],
)
def test_toxicity_is_that_of_the_sources(
    class_id: str, people: str, pets: str, parts: tuple[str, ...]
) -> None:
    toxicity = BY_ID[class_id].toxicity
    assert toxicity is not None
    assert (toxicity.people, toxicity.pets, toxicity.parts) == (people, pets, parts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_look_alike_has_a_name_and_a_distinguishing_sentence(language: str) -> None:
    for flower in FLOWERS:
        for item in look_alikes(flower, language):
            assert item.name
            assert item.features.endswith((".", "。"))
            assert item.features_language == (language if language in COMPLETE else "en")
            assert item.flower != flower
            assert item.flower or item.scientific_name


def test_look_alikes_are_mutual() -> None:
    for flower in FLOWERS:
        for key in flower.look_alikes:
            assert key not in BY_ID or flower.class_id in BY_ID[key].look_alikes


def test_dangerous_look_alikes_are_named() -> None:
    autumn_crocus, *_ = look_alikes(BY_ID["67"], "de")
    assert (autumn_crocus.name, autumn_crocus.scientific_name) == (
        "Herbstzeitlose", "Colchicum autumnale",
    )  # fmt: skip
    assert autumn_crocus.flower is None
    lily, *_ = look_alikes(BY_ID["18"], "en")
    assert lily.scientific_name == "Lilium"


def test_a_look_alike_of_the_data_set_has_its_entry() -> None:
    found = look_alikes(BY_ID["94"], "de")
    assert [item.flower and item.flower.class_id for item in found] == ["3", "11"]
    assert found[1].name == "Löwenmäulchen"


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


def test_two_flowers_have_no_german_name() -> None:
    assert set(files.texts()["de"].flowers) == set(NAMES)
    nameless = {flower.name for flower in FLOWERS if not flower.common_names("de").display_name}
    assert nameless == {"pelargonium", "cautleya spicata"}
    assert BY_ID["61"].name_in("de") == "Cautleya spicata"
    assert BY_ID["61"].name_language("de") == "la"
    assert BY_ID["55"].name_in("de") == "Pelargonium"  # its scientific name is uncertain, too
    assert BY_ID["55"].name_language("de") == "en"


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("flower", FLOWERS, ids=lambda flower: flower.slug)
def test_each_sentence_in_english_has_a_translation(flower: Flower, language: str) -> None:
    words = flower.translations[language]
    for kind in ("note", "features", "toxicity_note"):
        english, translated = getattr(flower, kind), getattr(words, kind)
        assert bool(translated) == bool(english)
        assert not translated or translated.endswith((".", "。"))
        assert not ENGLISH_WORDS.search(translated.lower())
    # The translation mentions every species that the English note mentions.
    species = re.findall(
        r"(?!The |Several )[A-Z][a-z]+ (?:× )?[a-z]+(?:us|is|um|a|i)\b", flower.note
    )
    assert [name for name in species if name not in words.note] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_family_has_a_name(language: str) -> None:
    families = [flower.family or "" for flower in FLOWERS]
    assert set(files.texts()[language].families) == set(families)
    names = {flower.family_in(language) for flower in FLOWERS}
    assert len(names) == len(set(families))
    assert {name_language for _, name_language in names} == {language}


def test_a_family_without_a_name_is_called_by_its_scientific_one() -> None:
    assert BY_ID["54"].family_in("zh") == ("菊科", "zh")
    assert BY_ID["54"].family_in("it") == BY_ID["54"].family_in("en") == ("Asteraceae", "la")
    assert Flower("rose", "rose", "Rose").family_in("zh") == ("", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_written_once_and_the_first_in_upper_case(language: str) -> None:
    for flower in FLOWERS:
        words = flower.common_names(language)
        names = [name for name in (words.display_name, *words.other_names) if name]
        assert len({name.lower() for name in names}) == len(names)
        assert not words.display_name or words.display_name[0] == words.display_name[0].upper()
        assert not any(mark in name for name in names for mark in ";()")


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_unique_in_each_language(language: str) -> None:
    names = [flower.name_in(language) for flower in FLOWERS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("language", "name"),
    [
        ("en", "Sunflower"), ("de", "Sonnenblume"), ("fr", "Tournesol"), ("es", "Girasol"),
        ("it", "Girasole"), ("nl", "Zonnebloem"), ("pt", "Girassol"), ("zh", "向日葵"),
    ],
)  # fmt: skip
def test_a_flower_is_named_in_eight_languages(language: str, name: str) -> None:
    assert BY_ID["54"].name_in(language) == name
    assert BY_ID["54"].name_language(language) == language


def test_a_sentence_falls_back_to_english() -> None:
    lily = BY_ID["18"]
    assert lily.sentence("features", "de") == (lily.translations["de"].features, "de")
    assert lily.sentence("features", "it") == (lily.features, "en")


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


def test_the_sources_of_flowers_are_returned_by_code() -> None:
    found = sources_of([BY_ID["9"]])
    assert found["nyc_health"].url
    assert set(found) == {*BY_ID["9"].sources, *(BY_ID["9"].toxicity or BY_ID["9"]).sources}
    assert sources_of([Flower("rose", "rose", "Rose")]) == {}


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
        ("rosa", "rose", "Rose", "rosa"),
        ("rose-red", "red rose", "Red rose", "rose-red"),
        ("rose", "red", "Red", "rose"),  # not the URL of the class before
        ("7", "wild_rose", "Wild rose", "7-wild-rose"),
        ("7", "?", "?", "7"),
        ("バラ", "バラ", "バラ", "バラ"),
        ("Ma\u0308rzenbecher", "Märzenbecher", "Märzenbecher", "Märzenbecher"),
        ('rose "Alba"', 'rose "Alba"', 'Rose "Alba"', 'rose "Alba"'),
        ("-rose", "-rose", "-rose", "-rose"),
        ("-", "?", "?", "-"),
        ("_", "_", "_", "_"),
    ],
)
def test_own_names_have_urls_without_repetition(
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
    assert bool(search([describe_class(FlowerClass(name, name))], query)) is found


def test_flowers_are_sorted_by_name() -> None:
    names = [flower.name for flower in describe_classes(TINY_CLASSES)]
    assert names == sorted(item.name for item in TINY_CLASSES)
    german = [flower.name_in("de") for flower in describe_classes(TINY_CLASSES, "de")]
    assert german == sorted(german)


def test_umlauts_are_sorted_with_their_base_letters() -> None:
    classes = [FlowerClass(*item) for item in NAMES.items()]
    names = [flower.name_in("de") for flower in describe_classes(classes, "de")]
    index = names.index("Stängelloser Enzian")
    assert names[index - 1 : index + 2] == ["Sonnenblume", "Stängelloser Enzian", "Stechapfel"]


def test_ligatures_are_sorted_as_two_letters() -> None:
    classes = [FlowerClass(*item) for item in NAMES.items()]
    names = [flower.name_in("fr") for flower in describe_classes(classes, "fr")]
    assert names.index("Nigelle de Damas") < names.index("Œillet de poète")
    assert names.index("Œillet de poète") < names.index("Onagre")


def test_chinese_lists_follow_the_scientific_names() -> None:
    classes = [FlowerClass(*item) for item in NAMES.items()]
    flowers = describe_classes(classes, "zh")
    names = [flower.scientific_name or flower.display_name for flower in flowers]
    assert names == sorted(names, key=str.lower)
    assert flowers[0].name_in("zh") == "苘麻"  # Abutilon


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
        ("jungfer grünen", {"33"}),
        ("nothing like this", set()),
        ("dahila", {"56", "59", "60"}),
        ("daisies", {"41", "49", "66"}),
        ("dasies", {"41", "49", "66"}),
        ("passionflowers", {"77"}),
        ("blackeyed susan", {"63"}),
        ("snapdragn", {"11"}),
        ("Löwnmaul", {"11"}),
        ("sunflowers", {"54"}),
        ("Nachtkerzen", {"1"}),
        ("tournesol", {"54"}),
        ("向日葵", {"54"}),
        ("金鱼", {"11"}),
        ("锦葵", {"86"}),
        ("锦葵科", {"55", "83", "86", "97"}),
        ("Malvengewächse", {"55", "83", "86", "97"}),
        ("睡莲科", {"73"}),
        ("nymphéacées", {"73"}),
        ("Seerosen", {"73"}),
        ("œillets", {"30", "31", "47"}),
        ("oeillet", {"30", "31", "47"}),
        ("glaieul", {"43"}),
        ("girasoles", {"54"}),
        ("acantaceas", {"98"}),
        ("z" * 5000, set()),
        ("dahlia " * 500, {"56", "59", "60"}),
        ("%_<", {flower.class_id for flower in FLOWERS}),
        ("", {flower.class_id for flower in FLOWERS}),
    ],
)
def test_a_search_finds_words_of_any_name(query: str, found: set[str]) -> None:
    assert {flower.class_id for flower in search(FLOWERS, query)} == found


@pytest.mark.parametrize("language", LANGUAGES)
def test_long_words_of_names_have_soft_hyphens_for_display_only(language: str) -> None:
    hyphenated = hyphenated_names(language)
    for name, displayed in hyphenated.items():
        assert displayed.replace("\xad", "") == name
        # No part is shorter than three letters.
        assert all(len(part) >= 3 for part in re.split("[\xad -]", displayed)), name
    names = [name for flower in FLOWERS for name in flower.names]
    assert not any(files.BREAK_MARK in name or "\xad" in name for name in names)
    assert set(hyphenated) <= set(names)


def test_long_german_words_have_soft_hyphens() -> None:
    hyphenated = hyphenated_names("de")
    assert hyphenated["Paradiesvogelblume"] == "Paradies\xadvogel\xadblume"
    for flower in FLOWERS:
        name = flower.name_in("de")
        is_long = any(len(word) > 12 for word in re.split("[ -]", name))
        if flower.name_language("de") == "de" and is_long:
            assert name in hyphenated


def test_a_language_without_names_has_no_soft_hyphens() -> None:
    assert hyphenated_names("xx") == {}
