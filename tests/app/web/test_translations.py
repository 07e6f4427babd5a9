"""Language negotiation, and completeness of the message catalogs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from app.catalog.files import Colour, PlantPart, Rank, ToxicityLevel
from app.catalog.flowers import describe_class
from app.http.problems import Code
from app.web.translations import ENGLISH, choose_language, format_percent, message_catalogs, text
from model.checkpoint.labels import FlowerClass
from model.imaging.formats import FORMAT_NAMES
from tests.app.conftest import form
from tests.app.web.conftest import message
from tests.conftest import ROOT

TEMPLATES = ROOT / "app" / "web" / "templates"
# The API documentation is in English only.
TRANSLATED = sorted(set(TEMPLATES.glob("*.html")) - {TEMPLATES / "docs.html"})
SCRIPTS = [*sorted((ROOT / "app" / "web" / "static").glob("*.js")), TEMPLATES / "service-worker.js"]
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
OTHERS = sorted(set(message_catalogs()) - {ENGLISH})

PLURAL_FORM = re.compile(r"(\w+\.\w+)\.\w+")
PLACEHOLDER = re.compile(r"{(\w*)}")
JINJA = re.compile(r"{#.*?#}|{%.*?%}|{{.*?}}", re.DOTALL)
TEXT_ATTRIBUTES = {"alt", "aria-label", "placeholder", "title", "value"}
NAMES = {"Petalscope", "Wikipedia", "GBIF"}  # the same in every language
COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`')
TEXT_PATTERN = re.compile(r"[A-Za-z]{2,} [a-z]{2,}|^[A-Z][a-z]+( |$)")
NOT_TEXT = {"Accept", "Files", "petalscope "}


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("DE_ch", "de"),
        ("en-GB,de;q=0.5", "en"),
        ("fr,de;q=0.8,en;q=0.7", "de"),
        ("en;q=0.2,de;q=0.9", "de"),
        ("de;q=0,fr", "en"),
        ("fr-FR,*;q=0.5", "en"),
        ("", "en"),
        (";;q=x,,", "en"),
    ],
)
def test_the_language_has_the_highest_preference(accepted: str, language: str) -> None:
    assert choose_language(parse_accept_header(accepted, LanguageAccept)) == language


def test_the_languages_are_english_and_german() -> None:
    assert OTHERS == ["de"]


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_has_the_same_messages_and_placeholders(
    language: str,
) -> None:
    def placeholders(messages: dict[str, str]) -> dict[str, list[str]]:
        return {
            key: sorted(set(PLACEHOLDER.findall(message)))
            for key, message in messages.items()
            if not key.startswith("details.")
        }

    assert placeholders(message_catalogs()[language]) == placeholders(message_catalogs()[ENGLISH])


@pytest.mark.parametrize("language", OTHERS)
def test_flower_names_are_translated(language: str) -> None:
    lily = describe_class(FlowerClass("18", "peruvian lily"))
    assert lily.name_in(language) not in ("", lily.display_name)


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_has_a_detail_for_each_problem_code(language: str, app: Flask) -> None:
    messages = message_catalogs()[language]
    details = {key.removeprefix("details.") for key in messages if key.startswith("details.")}
    assert details == set(Code)
    assert not any(key.startswith("details.") for key in message_catalogs()[ENGLISH])


@pytest.mark.parametrize("language", message_catalogs())
def test_each_status_has_a_title_or_uses_the_common_one(language: str) -> None:
    titles = {key for key in message_catalogs()[language] if re.fullmatch(r"titles\.\d+", key)}
    statuses = {f"titles.{code.status}" for code in Code}
    assert titles <= statuses
    assert statuses - titles == {"titles.416", "titles.500"}


def test_every_message_is_used_and_every_used_message_exists() -> None:
    sources = [*TRANSLATED, *SCRIPTS, *(ROOT / "app").rglob("*.py")]
    written = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    messages = {PLURAL_FORM.sub(r"\1", key) for key in message_catalogs()[ENGLISH]}
    used = set(re.findall(r'\btext\("(\w+\.\w+)"', written))
    used |= {f"script.{name}" for name in re.findall(r"texts\.(\w+)", written)}
    # `script_texts` adds these from other tables.
    used -= {"script.titles", "script.decimal", "script.details", "script.toxicity"}
    used -= {"script.hyphenated"}  # from the catalog
    assert used <= messages
    # Keys that the code composes.
    used |= {f"page.{verdict}" for verdict in ("known", "unsure", "unknown", "unchecked")}
    used |= {f"flowers.{rank}" for rank in get_args(Rank)}
    used |= {f"colours.{colour}" for colour in get_args(Colour)}
    used |= {f"toxicity.{word}" for word in (*get_args(ToxicityLevel), *get_args(PlantPart))}
    used |= {f"titles.{code.status}" for code in Code} | {"titles.other"}
    used |= {f"titles.{code}" for code in Code}
    used |= {f"language.{name}" for name in ("percent", "less_than", "more_than", "decimal")}
    used |= {"language.name"}
    used |= {f"script.{word}" for word in re.findall(r'"(\w+)"', written)}
    used |= {f"script.{word}_detail" for word in ("large", "large_combined")}
    assert messages <= used


class LiteralText(HTMLParser):
    """Parser that collects the literal words of a template, outside Jinja expressions."""

    def __init__(self, template: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.feed(JINJA.sub("", template))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in TEXT_ATTRIBUTES or (name, tag) == ("content", "description"):
                self._add(value or "")

    def handle_data(self, data: str) -> None:
        self._add(data)

    def _add(self, words: str) -> None:
        self.words += [word for word in re.findall(r"[^\W\d_]+", words) if word not in NAMES]


def literals(script: str) -> list[str]:
    """Return the string literals of a script that look like text for people."""
    found = [item[1:-1] for item in LITERAL.findall(COMMENT.sub("", script))]
    found = [re.sub(r"\${.*?}", "", item) for item in found]
    # Literals that start with a dot are selectors.
    texts = [item for item in found if TEXT_PATTERN.search(item) and not item.startswith(".")]
    return [item for item in texts if item not in NOT_TEXT]


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.name)
def test_templates_contain_no_literal_text(path: Path) -> None:
    assert LiteralText(path.read_text(encoding="utf-8")).words == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_contain_no_literal_text(path: Path) -> None:
    assert literals(path.read_text(encoding="utf-8")) == []


def test_literal_text_is_detected() -> None:
    template = '<p>{{ text("page.moment") }} <b>Hello</b></p><img alt="A {{ x }} rose">'
    assert LiteralText(template).words == ["Hello", "A", "rose"]
    script = 'a("Copied"); b("Sending the photo"); /* "No words" */ c(".tile", `${n} of many`);'
    assert literals(script) == ["Copied", "Sending the photo", " of many"]


def test_number_formats_depend_on_the_language(app: Flask) -> None:
    for language, expected in ((ENGLISH, "97.3%"), ("de", "97,3\xa0%")):
        with app.test_request_context(headers={"Accept-Language": language}):
            assert format_percent(0.9731) == expected


@pytest.mark.parametrize("language", message_catalogs())
def test_a_message_with_plural_forms_has_both(language: str) -> None:
    keys = set(message_catalogs()[language])
    forms = set(filter(PLURAL_FORM.fullmatch, keys))
    stems = {key.rpartition(".")[0] for key in forms}
    assert forms == {f"{stem}.{form}" for stem in stems for form in ("one", "other")}
    assert stems & keys == set()


@pytest.mark.parametrize(
    ("language", "count", "expected"),
    [(ENGLISH, 1, "1 flower"), (ENGLISH, 0, "0 flowers"), (ENGLISH, 102, "102 flowers"),
     ("de", 1, "1 Blume"), ("de", 2, "2 Blumen")],
)  # fmt: skip
def test_the_count_chooses_the_plural_form(
    app: Flask, language: str, count: int, expected: str
) -> None:
    with app.test_request_context(headers={"Accept-Language": language}):
        assert text("flowers.all", count=count) == expected


def test_placeholder_values_are_escaped(app: Flask) -> None:
    with app.test_request_context():
        assert "&lt;b&gt;" in text("page.look", name="<b>")


@pytest.mark.parametrize("path", ["/", "/flowers", "/flowers/21-fire-lily", "/nowhere", "/offline"])
def test_a_page_declares_its_language(client: FlaskClient, path: str) -> None:
    pages = {}
    for accepted, language in (("de-DE,en;q=0.5", "de"), ("fr", ENGLISH)):
        response = client.get(path, headers={**PAGE, "Accept-Language": accepted})
        assert response.headers["Content-Language"] == language
        assert "Accept-Language" in response.vary
        assert f'<html lang="{language}">' in response.text
        pages[language] = response
    if path.startswith("/flowers"):
        assert pages["de"].headers["ETag"] != pages[ENGLISH].headers["ETag"]


def test_the_api_and_its_documentation_are_english(client: FlaskClient, photo: bytes) -> None:
    german = {"Accept-Language": "de"}
    page = client.get("/docs", headers={**PAGE, **german})
    assert page.headers["Content-Language"] == ENGLISH
    assert '<html lang="en">' in page.text
    assert message("page.privacy") in page.text
    for path, data in (("/predict", form(b"words")), ("/predict?top_k=0", form(photo))):
        responses = [
            client.post(path, **data, headers=headers).get_json() for headers in ({}, german)
        ]
        assert responses[0]["detail"] == responses[1]["detail"]
        assert responses[0]["title"] == responses[1]["title"]


def test_problems_are_translated(client: FlaskClient, photo: bytes) -> None:
    formats = FORMAT_NAMES.replace(" or ", message("language.or", "de"))
    for data, detail in (
        (form(b"words"), message("details.unsupported_format", "de", formats=formats)),
        (form(photo[:2000]), message("details.damaged_photo", "de")),
        (form(b""), message("details.empty_photo", "de")),
    ):
        response = client.post("/", **data, headers={**PAGE, "Accept-Language": "de"})
        assert response.status_code in (415, 422)
        assert detail in response.text.split("<template")[0]


def test_german_pages_link_to_german_wikipedia(
    client: FlaskClient,
) -> None:
    page = client.get("/flowers/21-fire-lily", headers={**PAGE, "Accept-Language": "de"}).text
    assert "https://de.wikipedia.org/w/index.php?search=Gloriosa+superba" in page
