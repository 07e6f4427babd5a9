"""Flower pages and the flower list."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.catalog import files
from app.context import context_of
from app.http.problems import Code
from app.settings import Settings
from model.checkpoint.labels import FlowerClass, read_category_names
from model.classifier import Classifier
from tests.app.conftest import MakeApp
from tests.app.web.conftest import message
from tests.conftest import ROOT, TINY_CLASSES
from tests.fake_checkpoint import save_fake_checkpoint

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
NAMES = sorted(item.name for item in TINY_CLASSES)
OXFORD_NAMES = read_category_names(ROOT / "model" / "data" / "cat_to_name.json")


def shown(page: str) -> list[str]:
    """Return the names in the list that are not hidden, without soft hyphens."""
    found = re.findall(r"<li data-id[^>]*\"(?! hidden)>\s*<a [^>]*>([^<]+)</a>", page)
    return [name.replace("\xad", "") for name in found]


def test_the_list_contains_the_classes_of_the_model(client: FlaskClient) -> None:
    listed = client.get("/flowers").get_json()
    assert [item["name"] for item in listed["flowers"]] == NAMES
    lily = next(item for item in listed["flowers"] if item["class_id"] == "21")
    assert lily["scientific_name"] == "Gloriosa superba"
    assert lily["rank"] == "species"
    assert lily["family"] == "Colchicaceae"
    assert "flame lily" in lily["other_names"]
    assert client.get(lily["url"]).get_json() == lily
    assert lily["toxicity"] == {
        "people": "severe", "pets": "severe", "parts": [],
        "sources": ["aspca_toxic", "wapc", "botanikus", "vetpharm"],
    }  # fmt: skip
    assert lily["colours"] == ["yellow", "orange", "red"]
    assert lily["translations"]["de"]["toxicity_note"]
    for item in listed["flowers"]:
        assert {*item["sources"], *item["toxicity"]["sources"]} <= set(listed["sources"])
    assert listed["sources"]["wapc"]["url"].startswith("https://www.wapc.org/")


def test_browsers_get_the_list_as_a_page(client: FlaskClient) -> None:
    response = client.get("/flowers", headers=PAGE)
    assert response.content_type == "text/html; charset=utf-8"
    assert sorted(name.lower() for name in shown(response.text)) == NAMES
    for address in re.findall(r'<li data-id[^>]*>\s*<a href="([^"]+)"', response.text):
        assert client.get(address, headers=PAGE).status_code == 200
    assert message("flowers.heading", count=6) in response.text


@pytest.mark.parametrize(
    ("query", "found"),
    [("gloriosa", ["Fire lily"]), ("PRIMROSE", ["Pink primrose"]), ("nonsense", [])],
)
def test_a_search_works_without_javascript(
    client: FlaskClient, query: str, found: list[str]
) -> None:
    page = client.get("/flowers", query_string={"q": query}, headers=PAGE).text
    assert shown(page) == found
    assert message("flowers.some", found=len(found), count=6) in page
    listed = client.get("/flowers", query_string={"q": query}).get_json()
    assert [item["display_name"] for item in listed["flowers"]] == found


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"family": "Onagraceae"}, ["Pink primrose"]),
        ({"colour": "yellow"}, ["Blanket flower", "English marigold", "Fire lily"]),
        ({"colour": "yellow", "family": "Asteraceae"}, ["Blanket flower", "English marigold"]),
        ({"colour": "orange", "q": "lily"}, ["Fire lily"]),
    ],
)
def test_filters_work_without_javascript(
    client: FlaskClient, filters: dict[str, str], found: list[str]
) -> None:
    page = client.get("/flowers", query_string=filters, headers=PAGE).text
    listed = client.get("/flowers", query_string=filters).get_json()["flowers"]
    assert shown(page) == [item["display_name"] for item in listed] == found
    for value in set(filters.values()) - {"lily"}:
        assert f'<option value="{value}" selected>' in page


@pytest.mark.parametrize("headers", [{}, PAGE])
@pytest.mark.parametrize("query", ["colour=beige", "family=xx", "family=Rosaceae"])
def test_an_unknown_colour_or_family_is_refused(
    client: FlaskClient, query: str, headers: dict[str, str]
) -> None:
    response = client.get(f"/flowers?{query}", headers=headers)
    assert response.status_code == 422
    if not headers:
        assert response.get_json()["code"] == Code.INVALID_PARAMETER


LETTER_LINK = re.compile(r'<a href="#(letter-\d+)"([^>]*)>(\w|#)</a>')


def listed_page(
    tmp_path: Path, names: Mapping[str, str], query: str = "", language: str = "en"
) -> str:
    """Return the page with the list of a model for classes with these IDs and names."""
    path = save_fake_checkpoint(
        tmp_path / "named.safetensors",
        [0.0] * len(names),
        classes=[FlowerClass(*item) for item in names.items()],
    )
    app = create_app(Settings(checkpoint=path, device="cpu"))
    headers = {**PAGE, "Accept-Language": language}
    try:
        return app.test_client().get(f"/flowers?q={query}", headers=headers).text
    finally:
        context_of(app).batcher.close()


def test_a_long_list_has_letters_that_lead_to_their_flowers(tmp_path: Path) -> None:
    names = [f"{letter}{letter}{number}" for letter in "BEÖPバ" for number in range(5)]
    page = listed_page(tmp_path, dict(zip(names, names, strict=True)), "bb")
    targets = LETTER_LINK.findall(page)
    assert [letter for _, _, letter in targets] == ["B", "E", "O", "P", "#"]
    assert [letter for _, hidden, letter in targets if not hidden] == ["B"]
    for target, _, letter in targets:
        assert f'<h2 id="{target}">{letter}</h2>' in page
    assert message("flowers.not_here", count=25) in page


@pytest.mark.parametrize("count", [6, 25])
def test_a_short_list_and_one_in_another_script_have_no_letters(
    tmp_path: Path, client: FlaskClient, count: int
) -> None:
    names = {f"バ{number}": f"バ{number}" for number in range(25)}
    page = client.get("/flowers", headers=PAGE).text if count == 6 else listed_page(tmp_path, names)
    assert page.count("<li ") == count
    assert LETTER_LINK.findall(page) == []
    assert "<h2" not in page


def test_a_misspelled_name_is_found(client: FlaskClient) -> None:
    page = client.get("/flowers?q=marygolds", headers=PAGE).text
    assert shown(page) == ["English marigold"]


def test_a_query_is_escaped(client: FlaskClient) -> None:
    page = client.get("/flowers", query_string={"q": '"><img src=x>'}, headers=PAGE).text
    assert "<img src=x>" not in page
    assert '"><img src=x>' in html.unescape(page)


GERMAN_PAGE = {**PAGE, "Accept-Language": "de"}


def test_the_german_page_lists_german_names_with_the_english_ones(client: FlaskClient) -> None:
    page = client.get("/flowers", headers=GERMAN_PAGE).text
    assert shown(page) == [
        "Kokardenblume", "Kugeldistel", "Nachtkerze", "Ringelblume", "Ruhmeskrone", "Venusschuh",
    ]  # fmt: skip
    assert '<span class="english" lang="en">Fire lily</span>' in page
    english = client.get("/flowers", headers=PAGE).text
    assert 'class="english"' not in english
    assert ' lang="de"' not in english.split("<footer")[0]


@pytest.mark.parametrize(
    "query",
    ["ruhmesk", "Prachtlilie", "fire lily", "flame", "gloriosa", "Lis de Malabar", "glorioza"],
)
@pytest.mark.parametrize("headers", [PAGE, GERMAN_PAGE], ids=["English", "German"])
def test_a_search_finds_names_of_any_language(
    client: FlaskClient, query: str, headers: dict[str, str]
) -> None:
    page = client.get("/flowers", query_string={"q": query}, headers=headers).text
    assert len(shown(page)) == 1
    listed = client.get("/flowers", query_string={"q": query}).get_json()
    assert [item["class_id"] for item in listed["flowers"]] == ["21"]


@pytest.mark.parametrize(("language", "has_letters"), [("fr", True), ("zh", False)])
def test_the_chinese_list_has_no_letters(tmp_path: Path, language: str, has_letters: bool) -> None:
    page = listed_page(tmp_path, OXFORD_NAMES, language=language)
    assert len(shown(page)) == 102
    assert bool(LETTER_LINK.findall(page)) is has_letters


def test_families_have_names_in_the_language_of_the_page(client: FlaskClient) -> None:
    for language, name in (("en", "Asteraceae"), ("de", "Korbblütler"), ("zh", "菊科")):
        headers = {**PAGE, "Accept-Language": language}
        listed = client.get("/flowers?family=Asteraceae", headers=headers).text
        assert f'<option value="Asteraceae" selected>{name}</option>' in listed
        name_language = "la" if language == "en" else language
        assert f'<span class="family" lang="{name_language}">{name}</span>' in listed
        page = client.get("/flowers/5-english-marigold", headers=headers).text
        assert f'lang="{name_language}">{name}</a>' in page
        assert ('<i lang="la">Asteraceae</i>' in page) is (language != "en")


def test_a_flower_page_is_translated(client: FlaskClient) -> None:
    page = client.get("/flowers/21-fire-lily", headers=GERMAN_PAGE).text
    assert "<title>Ruhmeskrone · Petalscope</title>" in page
    assert '<h1 lang="de">Ruhmeskrone</h1>' in page
    assert re.search(r"<dd>[^<]*Prachtlilie</dd>", page)
    assert "Fire lily, flame lily, glory lily, climbing lily</dd>" in page
    lily = client.get("/flowers/21-fire-lily").get_json()
    for kind in ("note", "features", "toxicity_note"):
        assert lily["translations"]["de"][kind] in html.unescape(page)
        assert lily[kind] not in html.unescape(page)
    english = client.get("/flowers/21-fire-lily", headers=PAGE).text
    assert "Ruhmes" not in english
    assert message("flowers.in_english") not in english


@pytest.mark.parametrize("path", ["/flowers", "/flowers?q=ruhmeskrone", "/flowers/21-fire-lily"])
def test_the_json_does_not_depend_on_the_language(client: FlaskClient, path: str) -> None:
    responses = [client.get(path, headers={"Accept-Language": tag}) for tag in ("en", "de")]
    assert responses[0].data == responses[1].data
    assert responses[0].headers["ETag"] == responses[1].headers["ETag"]
    assert "Accept-Language" not in responses[0].vary
    body = responses[0].get_json()
    lily = next(item for item in body.get("flowers", [body]) if item["class_id"] == "21")
    assert lily["display_name"] == "Fire lily"
    assert lily["translations"]["de"]["display_name"] == "Ruhmeskrone"


def test_a_flower_has_a_page(client: FlaskClient) -> None:
    page = client.get("/flowers/21-fire-lily", headers=PAGE).text
    assert '<i lang="la">Gloriosa superba</i>' in page
    assert "Colchicaceae" in page
    assert "wikipedia.org/w/index.php?search=Gloriosa+superba" in page
    assert "gbif.org/species/search?q=Gloriosa+superba" in page
    for link in re.findall('<a [^>]*href="http[^>]*>', page):
        assert 'target="_blank"' in link
        assert 'rel="external noopener noreferrer"' in link


def test_a_flower_page_shows_toxicity_for_people_and_pets_with_its_sources(
    client: FlaskClient,
) -> None:
    page = html.unescape(client.get("/flowers/21-fire-lily", headers=PAGE).text)
    (section,) = re.findall('<section class="toxicity warning">.*?</section>', page, re.DOTALL)
    assert section.count(f"<dd>{message('toxicity.severe')}</dd>") == 2
    assert message("toxicity.advice") in section
    assert message("toxicity.unknown_advice") not in section
    for source in (files.facts().sources[code] for code in ("wapc", "aspca_toxic")):
        assert f'href="{source.url}"' in page
        assert source.title in page


def test_unknown_toxicity_is_not_shown_as_harmless(client: FlaskClient) -> None:
    page = html.unescape(client.get("/flowers/1-pink-primrose", headers=PAGE).text)
    (section,) = re.findall('<section class="toxicity">.*?</section>', page, re.DOTALL)
    assert section.count(f"<dd>{message('toxicity.unknown')}</dd>") == 2
    assert message("toxicity.unknown_advice") in section
    assert message("toxicity.none_known") not in section


def test_a_flower_page_names_look_alikes_and_links_to_those_of_the_model(
    client: FlaskClient,
) -> None:
    page = html.unescape(client.get("/flowers/5-english-marigold", headers=PAGE).text)
    (part,) = re.findall('<dl class="look-alikes">.*?</dl>', page, re.DOTALL)
    assert '<span lang="en">Marigold</span>' in part  # not a class of this model
    assert "<dd>Dense, ruffled" in part
    thistle = client.get("/flowers/10-globe-thistle", headers=PAGE).text
    assert "look-alikes" in thistle


@pytest.mark.parametrize("slug", ["21", "21-", "21-fire-lilly", "21-rose", "21-FIRE-LILY"])
@pytest.mark.parametrize("headers", [{}, PAGE])
def test_a_class_id_with_any_name_redirects_to_the_canonical_url(
    client: FlaskClient, slug: str, headers: dict[str, str]
) -> None:
    response = client.get(f"/flowers/{slug}", headers=headers)
    assert response.status_code == 308
    assert response.location == "/flowers/21-fire-lily"
    # Another model may call the class by another name.
    assert response.cache_control.no_cache


@pytest.mark.parametrize("slug", ["0", "3", "103-rose", "fire-lily", "2x", "-", "%3Cb%3E"])
def test_an_unknown_flower_is_404(client: FlaskClient, slug: str) -> None:
    response = client.get(f"/flowers/{slug}")
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
    assert response.get_json()["code"] == Code.NOT_FOUND
    page = client.get(f"/flowers/{slug}", headers=PAGE)
    assert page.status_code == 404
    assert message("titles.404") in page.text


@pytest.mark.parametrize("path", ["/flowers", "/flowers?q=lily", "/flowers/21-fire-lily"])
@pytest.mark.parametrize("headers", [{}, PAGE])
def test_unchanged_responses_are_304(
    client: FlaskClient, path: str, headers: dict[str, str]
) -> None:
    first = client.get(path, headers=headers)
    assert first.cache_control.no_cache
    assert first.cache_control.public
    assert "Accept" in first.headers["Vary"]
    etag = first.headers["ETag"]
    again = client.get(path, headers={**headers, "If-None-Match": etag})
    assert again.status_code == 304
    assert again.data == b""
    assert again.headers["ETag"] == etag


def test_page_and_json_have_different_etags(client: FlaskClient) -> None:
    etags = {client.get("/flowers", headers=headers).headers["ETag"] for headers in ({}, PAGE)}
    assert len(etags) == 2


def test_allowed_origins_may_read_the_list(make_app: MakeApp) -> None:
    friend = "https://friend.example"
    client = make_app(cors_origins=(friend,)).test_client()
    response = client.get("/flowers", headers={"Origin": friend})
    assert response.headers["Access-Control-Allow-Origin"] == friend
    assert {"accept", "origin"} <= response.vary.as_set()


def test_other_classes_show_their_names_without_catalog_facts(
    tiny_checkpoint: Path,
) -> None:
    names = (
        ("21", "rose"),
        ("rose", "rose"),
        ("rose-red", "red rose"),
        ("ä b", "<b>"),
        ("x", "y"),
        (
            "18",
            "peruvian lily",
        ),
    )
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    classes = tuple(FlowerClass(*item) for item in names)
    classifier.metadata = replace(classifier.metadata, classes=classes)
    app = create_app(Settings(checkpoint=tiny_checkpoint), classifier)
    app.testing = True
    try:
        client = app.test_client()
        found = {item["class_id"]: item for item in client.get("/flowers").get_json()["flowers"]}
        assert found["21"]["scientific_name"] is None
        assert found["21"]["family"] is None
        assert found["18"]["scientific_name"] == "Alstroemeria"
        for item in found.values():
            page = client.get(item["url"], headers=PAGE)
            assert page.status_code == 200
            assert html.escape(item["display_name"]) in page.text
            assert client.get(item["url"]).get_json() == item
            german = client.get(item["url"], headers=GERMAN_PAGE).text
            assert html.escape(item["display_name"]) in german
        assert found["21"]["translations"] == {}
        assert client.get("/flowers/rose-red").get_json()["name"] == "red rose"
        assert client.get("/flowers/rose-red-red-rose").location == "/flowers/rose-red"
        text = client.get(found["21"]["url"], headers=PAGE).text
        assert "wikipedia.org/w/index.php?search=Rose" in text
        assert "gbif.org" not in text
    finally:
        context_of(app).batcher.close()
