"""Language negotiation, and completeness of the message catalogs."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from app.catalog import files
from app.catalog.files import Colour, PlantPart, Rank, ToxicityLevel
from app.catalog.flowers import describe_class
from app.http.problems import Code
from app.web.rendering import script_texts
from app.web.translations import ENGLISH, choose_language, format_percent, message_catalogs, text
from model.checkpoint.labels import FlowerClass
from model.imaging.formats import FORMAT_NAMES
from tests.app.conftest import MakeApp, form
from tests.app.web.conftest import message
from tests.conftest import ROOT

TEMPLATES = ROOT / "app" / "web" / "templates"
# The API documentation is in English only.
TRANSLATED = sorted(set(TEMPLATES.glob("*.html")) - {TEMPLATES / "docs.html"})
STATIC = ROOT / "app" / "web" / "static"
# Modules of the page, without those that are also used outside of it.
ON_DEVICE = [
    STATIC / "on_device" / f"{name}.js"
    for name in ("download", "identify", "install", "offer", "panel", "store", "worker")
]
SCRIPTS = [*sorted(STATIC.glob("*.js")), *ON_DEVICE, TEMPLATES / "service-worker.js"]
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = ["/", "/about", "/about/model", "/flowers", "/flowers/21-fire-lily", "/nowhere", "/offline"]
OTHERS = sorted(set(message_catalogs()) - {ENGLISH})
# Messages that are the same word in English.
SAME_WORDS = {
    "de": {"flowers.hint_name", "colours.orange", "model.version"},
    "es": {"flowers.cultivar"},
    "fr": {
        "flowers.cultivar", "flowers.sources", "colours.orange", "toxicity.rhizome",
        "nav.pages", "model.version", "model.pixels", "model.photos",
    },
}  # fmt: skip

PLURAL_FORM = re.compile(r"(\w+\.\w+)\.\w+")
PLACEHOLDER = re.compile(r"{(\w*)}")
JINJA = re.compile(r"{#.*?#}|{%.*?%}|{{.*?}}", re.DOTALL)
TEXT_ATTRIBUTES = {"alt", "aria-label", "placeholder", "title", "value"}
PROXY_TITLES = {"titles.502"}  # of statuses that only a proxy sends
NAMES = {"Petalscope", "Wikipedia", "GBIF"}  # the same in every language
COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`')
TEXT_PATTERN = re.compile(r"[A-Za-z]{2,} [a-z]{2,}|^[A-Z][a-z]+( |$)")
NOT_TEXT = {
    "Accept", "Enter", "Escape", "Files", "Petalscope", "Petalscope · ", "Worker", "petalscope ",
    "The browser is out of memory.",  # for developers
}  # fmt: skip


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("DE_ch", "de"),
        ("en-GB,de;q=0.5", "en"),
        ("it,de;q=0.8,en;q=0.7", "de"),
        ("en;q=0.2,de;q=0.9", "de"),
        ("de;q=0,it", "en"),
        ("it-IT,*;q=0.5", "en"),
        ("fr-CA,en;q=0.5", "fr"),
        ("es-419", "es"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-SG", "zh"),
        ("zh-Hans-CN", "zh"),
        ("zh-TW,en;q=0.5", "zh"),  # simplified, for lack of traditional Chinese
        ("", "en"),
        (";;q=x,,", "en"),
    ],
)
def test_the_language_has_the_highest_preference(accepted: str, language: str) -> None:
    assert choose_language(parse_accept_header(accepted, LanguageAccept)) == language


def test_the_languages() -> None:
    assert OTHERS == ["de", "es", "fr", "zh"]


def placeholders(language: str) -> dict[str, set[str]]:
    """Return the placeholders of each message, those of the form "other" if it has several."""
    return {
        key.removesuffix(".other"): set(PLACEHOLDER.findall(copy))
        for key, copy in message_catalogs()[language].items()
        if not key.endswith(".one")
    }


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_has_the_same_messages_and_placeholders(language: str) -> None:
    found = placeholders(language)
    details = {key for key in found if key.startswith("details.")}
    assert {key: found[key] for key in found.keys() - details} == placeholders(ENGLISH)
    assert {key: found[key] for key in details} == {
        key: names for key, names in placeholders("de").items() if key.startswith("details.")
    }


@pytest.mark.parametrize("language", message_catalogs())
def test_the_singular_has_no_placeholder_that_the_plural_lacks(language: str) -> None:
    plural = placeholders(language)
    for key, copy in message_catalogs()[language].items():
        if key.endswith(".one"):
            assert set(PLACEHOLDER.findall(copy)) <= plural[key.removesuffix(".one")]


@pytest.mark.parametrize("language", OTHERS)
def test_no_message_is_left_in_english(language: str) -> None:
    english = message_catalogs()[ENGLISH]
    equal = {
        key
        for key, copy in message_catalogs()[language].items()
        if copy == english.get(key) and re.search("[A-Za-z]{2}", PLACEHOLDER.sub("", copy))
    }
    assert equal <= SAME_WORDS.get(language, set())


@pytest.mark.parametrize(
    ("language", "mistake"),
    [
        ("fr", "[^\u202f][;?!]|[^\xa0]:(?!//)|«[^\xa0]|[^\xa0]»|'"),
        ("es", "[“”']|^[^¿]*[?]|^[^¡]*!"),
        ("zh", "[\u3400-\u9fff][,;:?!.]|[,;:?!]\\s*[\u3400-\u9fff]|'|\""),
    ],
)
def test_punctuation_is_that_of_the_language(language: str, mistake: str) -> None:
    sentences = [
        copy
        for key, copy in message_catalogs()[language].items()
        if key not in ("language.wikipedia", "language.comma")
    ]
    contents = files.texts()[language]
    for item in contents.flowers.values():
        sentences += filter(None, (item.note, item.features, item.toxicity_note))
    sentences += [item.features for item in contents.species.values()]
    assert [text for text in sentences if re.search(mistake, text)] == []


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
    statuses = {f"titles.{code.status}" for code in Code} | PROXY_TITLES
    assert titles <= statuses
    assert statuses - titles == {"titles.416", "titles.500"}


def test_every_message_is_used_and_every_used_message_exists(app: Flask) -> None:
    on_device = "\n".join(path.read_text(encoding="utf-8") for path in ON_DEVICE)
    pages = [path for path in SCRIPTS if path not in ON_DEVICE]
    sources = [*TRANSLATED, *pages, *(ROOT / "app").rglob("*.py")]
    written = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    messages = {PLURAL_FORM.sub(r"\1", key) for key in message_catalogs()[ENGLISH]}
    used = set(re.findall(r'\btext\("(\w+\.\w+)"', written))
    used |= {f"script.{name}" for name in re.findall(r"texts\.(\w+)", written)}
    with app.test_request_context():
        # Texts of other tables that the scripts get.
        added = {key for key in script_texts() if f"script.{key}" not in messages}
    used -= {f"script.{key}" for key in added}
    assert used <= messages
    # Keys that the code composes.
    used |= {f"{table}.{key}" for table in ("language", "verdict") for key in added}
    used |= {f"flowers.{rank}" for rank in get_args(Rank)}
    used |= {f"colours.{colour}" for colour in get_args(Colour)}
    used |= {f"toxicity.{word}" for word in (*get_args(ToxicityLevel), *get_args(PlantPart))}
    used |= {f"titles.{code.status}" for code in Code} | {"titles.other"} | PROXY_TITLES
    used |= {f"titles.{code}" for code in Code}
    used |= {"language.name"}
    used |= {f"script.{word}" for word in re.findall(r'"(\w+)"', written)}
    named = re.findall(r"texts\S*\.(\w+)|format\(\"(\w+)\"", on_device)
    used |= {f"on_device.{one or two}" for one, two in named}
    used |= {f"script.{name}" for name in re.findall(r'notify\("(\w+)"', on_device)}
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


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (ENGLISH, "97.3%"), ("de", "97,3\xa0%"), ("fr", "97,3\u202f%"), ("es", "97,3\xa0%"),
        ("zh", "97.3%"),
    ],
)  # fmt: skip
def test_number_formats_depend_on_the_language(app: Flask, language: str, expected: str) -> None:
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
     ("de", 1, "1 Blume"), ("de", 2, "2 Blumen"), ("fr", 0, "0 fleur"), ("fr", 2, "2 fleurs"),
     ("es", 0, "0 flores"), ("zh", 1, "1 种花"), ("zh", 2, "2 种花")],
)  # fmt: skip
def test_the_count_chooses_the_plural_form(
    app: Flask, language: str, count: int, expected: str
) -> None:
    with app.test_request_context(headers={"Accept-Language": language}):
        assert text("flowers.all", count=count) == expected


def test_placeholder_values_are_escaped(app: Flask) -> None:
    with app.test_request_context():
        assert "&lt;b&gt;" in text("page.look", name="<b>")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_declares_its_language(client: FlaskClient, path: str) -> None:
    pages = {}
    for accepted, language in (("de-DE,en;q=0.5", "de"), ("it", ENGLISH)):
        response = client.get(path, headers={**PAGE, "Accept-Language": accepted})
        assert response.headers["Content-Language"] == language
        assert "Accept-Language" in response.vary
        assert f'<html lang="{language}">' in response.text
        pages[language] = response
    if path.startswith("/flowers"):
        assert pages["de"].headers["ETag"] != pages[ENGLISH].headers["ETag"]


@pytest.mark.parametrize("language", message_catalogs())
def test_each_page_exists_in_each_language(
    make_app: MakeApp, tmp_path: Path, language: str
) -> None:
    client = make_app(feedback_dir=tmp_path / "feedback").test_client()
    for path in (*PAGES, "/your-feedback"):
        response = client.get(path, headers={**PAGE, "Accept-Language": language})
        assert response.status_code == (404 if path == "/nowhere" else 200)
        assert f'<html lang="{language}">' in response.text


def test_lists_are_joined_as_the_language_does(client: FlaskClient) -> None:
    for language, joined in (("fr", "jaune, orange, rouge"), ("zh", "黄色、橙色、红色")):
        page = client.get("/flowers/21-fire-lily", headers={**PAGE, "Accept-Language": language})
        assert joined in html.unescape(re.sub("<[^>]*>", "", page.text))
    formats = FORMAT_NAMES.replace(", ", "、").replace(" or ", " 或 ")
    start = client.get("/", headers={**PAGE, "Accept-Language": "zh"})
    assert f'data-formats="{formats}"' in start.text


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


@pytest.mark.parametrize("language", OTHERS)
def test_problems_are_translated(client: FlaskClient, photo: bytes, language: str) -> None:
    formats = FORMAT_NAMES.replace(", ", message("language.comma", language))
    formats = formats.replace(" or ", message("language.or", language))
    for data, detail in (
        (form(b"words"), message("details.unsupported_format", language, formats=formats)),
        (form(photo[:2000]), message("details.damaged_photo", language)),
        (form(b""), message("details.empty_photo", language)),
    ):
        response = client.post("/", **data, headers={**PAGE, "Accept-Language": language})
        assert response.status_code in (415, 422)
        assert detail in html.unescape(response.text.split("<template")[0])


@pytest.mark.parametrize("language", message_catalogs())
def test_pages_link_to_wikipedia_in_their_language(client: FlaskClient, language: str) -> None:
    page = client.get("/flowers/21-fire-lily", headers={**PAGE, "Accept-Language": language}).text
    assert f"https://{language}.wikipedia.org/w/index.php?search=Gloriosa+superba" in page
