"""The pages and the API of a service for people's own flowers."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.catalog import files
from app.catalog.flowers import describe_classes
from app.context import context_of
from app.settings import Settings
from app.web.translations import message_catalogs
from model.checkpoint.labels import FlowerClass, read_category_names
from tests.app.conftest import form
from tests.app.web.conftest import message
from tests.conftest import ROOT
from tests.fake_checkpoint import save_fake_checkpoint

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
LANGUAGES = tuple(message_catalogs())
Serve = Callable[..., FlaskClient]
# Names of folders, in their order.
OWN = ("wild_leek", "edelweiss", 'leek "Blue <b>"', "Märzenbecher", "x" * 250, "バラ")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that serves a model of classes, given as folder names or (ID, name)."""
    apps: list[Flask] = []

    def start(*classes: str | tuple[str, str]) -> FlaskClient:
        pairs = [(item, item) if isinstance(item, str) else item for item in classes]
        path = save_fake_checkpoint(
            tmp_path / "own.safetensors",
            [float(-index) for index in range(len(pairs))],
            classes=[FlowerClass(*pair) for pair in pairs],
        )
        app = create_app(Settings(checkpoint=path, device="cpu"))
        app.testing = True
        apps.append(app)
        return app.test_client()

    yield start
    for app in apps:
        context_of(app).batcher.close()


def page_of(client: FlaskClient, path: str, language: str = "en") -> str:
    response = client.get(path, headers={**PAGE, "Accept-Language": language})
    assert response.status_code == 200
    return response.text


def main_part(page: str) -> str:
    """Return the visible text of the page's main element."""
    found = re.search("<main.*</main>", page, re.DOTALL)
    assert found
    return html.unescape(re.sub("<[^>]+>", " ", found[0]))


def catalog_words() -> Sequence[str]:
    """Return every name, family, sentence and source of the catalog, in every language."""
    names = read_category_names(ROOT / "model" / "data" / "cat_to_name.json")
    words = {"Oxford", "Nilsback", *(source.title for source in files.facts().sources.values())}
    for flower in describe_classes(FlowerClass(*item) for item in names.items()):
        for item in map(flower.common_names, ("en", *flower.translations)):
            words |= {item.note, item.features, item.toxicity_note}
        words |= {*flower.names, flower.slug}
    words.discard("")
    return sorted(words)


def test_nothing_of_the_catalog_is_shown(serve: Serve, photo: bytes) -> None:
    client = serve(*OWN)
    paths = ["/", "/flowers", "/docs", "/openapi.json", "/labels", "/model", "/nothing"]
    paths += [item["url"] for item in client.get("/flowers").get_json()["flowers"]]
    texts = []
    for headers in ({}, PAGE, {**PAGE, "Accept-Language": "de"}):
        texts += [client.get(path, headers=headers).text for path in paths]
        texts.append(client.post("/", **form(photo), headers=headers).text)
    texts.append(client.post("/predict?explain=1", **form(photo)).text)
    shown = "\n".join(map(html.unescape, texts))
    pattern = "|".join(map(re.escape, catalog_words()))
    assert sorted(set(re.findall(rf"\b(?:{pattern})\b", shown, re.IGNORECASE))) == []


def test_the_examples_name_the_classes_of_the_model(serve: Serve) -> None:
    client = serve(*OWN)
    text = json.dumps(client.get("/openapi.json").get_json(), ensure_ascii=False)
    assert '"wild_leek"' in text
    assert '"edelweiss"' in text
    assert "/flowers/wild_leek" in client.get("/docs", headers=PAGE).text


@pytest.mark.parametrize("name", OWN)
def test_a_flower_of_its_own_has_one_url_and_a_page(serve: Serve, name: str) -> None:
    client = serve(*OWN)
    listed = client.get("/flowers").get_json()
    assert listed["sources"] == {}
    (item,) = (item for item in listed["flowers"] if item["name"] == name)
    assert item["url"] == f"/flowers/{quote(name)}"
    assert client.get(item["url"]).get_json() == item
    assert item["translations"] == {}
    assert (item["scientific_name"], item["family"], item["note"]) == (None, None, "")
    assert (item["toxicity"], item["colours"], item["look_alikes"]) == (None, [], [])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_without_catalog_entry_has_the_name_once_and_no_empty_parts(
    serve: Serve, language: str
) -> None:
    client = serve(*OWN)
    for item in client.get("/flowers").get_json()["flowers"]:
        page = page_of(client, item["url"], language)
        words = main_part(page).split()
        expected = [
            message("flowers.back_to_photo", language),  # hidden
            message("flowers.back", language),
            item["display_name"],
            message("flowers.search_at", language, site="Wikipedia"),
        ]
        assert words == " ".join(expected).split()
        assert f'<h1 lang="">{html.escape(item["display_name"])}' in page.replace("&#34;", "&quot;")
        assert "<dl" not in page
        wikipedia = message("language.wikipedia", language)
        assert f'href="{wikipedia}?search=' in page
        (colophon,) = re.findall("<footer.*</footer>", page, re.DOTALL)
        assert colophon.count("<p>") == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_class_id_that_differs_from_the_name_is_shown(serve: Serve, language: str) -> None:
    client = serve(("rosa", "moss"), "tulip")
    page = page_of(client, "/flowers/rosa", language)
    value = message("flowers.class", language, id="rosa", name="moss")
    assert value in html.unescape(page)
    assert message("flowers.scientific_name", language) not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_list_asks_for_a_name_only(serve: Serve, client: FlaskClient, language: str) -> None:
    page = page_of(serve(*OWN), "/flowers", language)
    assert f'placeholder="{message("flowers.hint_name", language)}"' in page
    assert "<select" not in page
    bundled = page_of(client, "/flowers", language)
    assert f'placeholder="{message("flowers.hint", language)}"' in bundled
    assert "<select" in bundled


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_pages_count_few_flowers(serve: Serve, language: str, count: int) -> None:
    client = serve(*OWN[:count])
    start = page_of(client, "/", language)
    introduction = message("page.introduction_few", language, count=count)
    assert introduction in html.unescape(start)
    verdict = message("verdict.unknown", language, count=count)
    assert f'<h1 class="verdict">{verdict}</h1>' in html.unescape(start)
    listed = page_of(client, "/flowers", language)
    assert message("flowers.heading", language, count=count) in html.unescape(listed)
    assert message("flowers.all", language, count=count) in listed
    assert message("flowers.some", language, count=count, found="{found}") in listed


def test_a_result_has_the_names_in_no_stated_language(serve: Serve, photo: bytes) -> None:
    client = serve("Märzenbecher", "edelweiss")
    page = client.post("/", **form(photo), headers={"Accept-Language": "de"}).text
    shown = page.split("<template")[0]
    assert '<a class="name" href="/flowers/edelweiss" lang="">Edelweiss</a>' in shown
    assert 'class="english"' not in shown
    assert f'href="{message("language.wikipedia", "de")}?search=M%C3%A4rzenbecher"' in shown
    assert "gbif" not in shown
    assert 'class="warning"' not in shown


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/flowers/EDELWEISS", "/flowers/edelweiss"),
        ("/flowers/edelweiss-edelweiss", "/flowers/edelweiss"),
        ("/flowers/Ma%CC%88rzenbecher", "/flowers/M%C3%A4rzenbecher"),
    ],
)
def test_other_spellings_redirect_to_the_canonical_url(
    serve: Serve, path: str, location: str
) -> None:
    client = serve("edelweiss", "Märzenbecher")
    response = client.get(path)
    assert response.status_code == 308
    assert response.location == location


def test_a_folder_name_in_decomposed_unicode_has_a_page(serve: Serve) -> None:
    client = serve(("Ma\u0308rzenbecher", "Märzenbecher"), "edelweiss")
    (item,) = client.get("/flowers?q=märz").get_json()["flowers"]
    assert item["class_id"] == "Ma\u0308rzenbecher"
    assert client.get(item["url"]).get_json() == item
    assert client.get(f"/flowers/{item['class_id']}").location == item["url"]
