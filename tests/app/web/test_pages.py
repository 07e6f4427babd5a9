"""The start page and its results."""

from __future__ import annotations

import base64
import html
import io
import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from app.context import context_of, install_context
from app.web.translations import message_catalogs
from model import BUNDLED_INT8
from model.backends.base import Outputs
from model.classifier import Classifier
from model.imaging.formats import FORMAT_NAMES, format_names
from model.ood import OodRule
from tests.app.conftest import MakeApp, encoded, form
from tests.app.web.conftest import OFFER_SCRIPT, SCRIPTS_ON_DEMAND, message
from tests.conftest import ROOT, flower_image

PHOTO = re.compile(r'"data:image/jpeg;base64,([A-Za-z0-9+/=]+)"')
BROWSER = {"Accept": "text/html"}
MAP = re.compile(r'"data:image/png;base64,[A-Za-z0-9+/=]+"')


def shown_photo(page: str) -> Image.Image:
    (data,) = PHOTO.findall(page)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_the_page_has_a_form_that_works_without_javascript(client: FlaskClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.content_type == "text/html; charset=utf-8"
    assert 'enctype="multipart/form-data"' in response.text
    assert 'name="image"' in response.text


def test_the_page_states_the_limits_and_the_number_of_flowers(make_app: MakeApp) -> None:
    page = make_app(max_body_mib=7).test_client().get("/").text
    assert message("page.limits", formats=FORMAT_NAMES, mib=7) in page
    assert message("page.introduction", count=6) in html.unescape(page)


@pytest.mark.parametrize("heif", [False, True])
def test_the_page_offers_heic_if_the_service_accepts_it(make_app: MakeApp, heif: bool) -> None:
    page = make_app(heif=heif).test_client().get("/").text
    assert message("page.limits", formats=format_names(heif), mib=32) in page
    assert ("image/heic" in page) == heif
    assert ("data-heif" in page) == heif


def test_a_photo_gets_five_names(client: FlaskClient, photo: bytes) -> None:
    response = client.post("/", **form(photo))
    assert response.status_code == 200
    names = [
        item["display_name"]
        for item in client.post("/predict", **form(photo)).get_json()["predictions"]
    ]
    text = html.unescape(response.text)
    assert len(names) == 5
    assert [text.index(name) for name in names] == sorted(text.index(name) for name in names)


@pytest.mark.parametrize("language", message_catalogs())
def test_poisonous_plants_among_the_names_are_warned_of_without_javascript(
    client: FlaskClient, photo: bytes, language: str
) -> None:
    predictions = client.post("/predict", **form(photo)).get_json()["predictions"]
    poisonous = {"fire lily": "severe"}  # of the tiny model's classes
    for item in predictions:
        assert item["toxicity"]["people"] == poisonous.get(item["name"], item["toxicity"]["people"])
    page = client.post("/", **form(photo), headers={"Accept-Language": language}).text
    shown = html.unescape(page.split("<template")[0])
    warnings = re.findall('<aside class="warning">.*?</aside>', shown, re.DOTALL)
    assert len(warnings) == ("fire lily" in [item["name"] for item in predictions])
    for warning in warnings:
        assert warning.count("<li>") == 1
        level = message("toxicity.severe", language)
        assert message("toxicity.effect_both", language, level=level) in warning
        assert message("toxicity.advice", language) in warning


def test_each_name_links_to_its_flower(client: FlaskClient, photo: bytes) -> None:
    page = html.unescape(client.post("/", **form(photo)).text)
    predictions = client.post("/predict", **form(photo)).get_json()["predictions"]
    for item in predictions:
        assert f'href="{item["url"]}" lang="en">{item["display_name"]}</a>' in page
        assert client.get(item["url"]).status_code == 200
    # Only the first prediction shows its scientific name; all of the tiny model's classes have one.
    shown = page.split("<template")[0]
    latin = re.findall('<i lang="la">(.+?)</i>', shown)
    assert latin == [predictions[0]["scientific_name"].partition(" '")[0]]


def test_the_german_page_shows_german_and_english_names(client: FlaskClient, photo: bytes) -> None:
    german = {"Accept-Language": "de"}
    page = html.unescape(client.post("/", **form(photo), headers=german).text).replace("\xad", "")
    result = client.post("/predict", **form(photo), headers=german).get_json()
    for item in result["predictions"]:
        name = item["translations"]["de"]["display_name"]
        assert f'lang="de">{name}</a>' in page
        assert f'lang="en">{item["display_name"]}</span>' in page
    best = result["predictions"][0]["translations"]["de"]["display_name"]
    assert re.search(rf"<title>\s*{best} · Petalscope\s*</title>", page)


@pytest.mark.slow
def test_the_page_shows_the_photo_upright_and_downscaled(client: FlaskClient) -> None:
    original = flower_image((1600, 1200))
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90° clockwise
    original.save(file, "PNG", exif=exif)
    shown = shown_photo(client.post("/", **form(file.getvalue())).text)
    assert shown.size == (600, 800)
    expected = original.transpose(Image.Transpose.ROTATE_270).resize(shown.size)
    difference = np.asarray(shown, dtype=float) - np.asarray(expected, dtype=float)
    assert np.abs(difference).mean() < 3


@pytest.mark.slow
def test_heat_maps_need_a_model_with_activations(make_app: MakeApp, photo: bytes) -> None:
    def run(batch: npt.NDArray[np.uint8]) -> list[Outputs]:
        return [Outputs(np.zeros(6, np.float32), None)] * len(batch)

    for client, maps, path in (
        (make_app().test_client(), 5, "/predict?explain=1"),
        (make_app(run=run).test_client(), 0, "/predict"),
    ):
        page = client.post("/", **form(photo)).text
        assert len(MAP.findall(page)) == maps
        # The page does not request heat maps from a model without them, which would be an error.
        assert f'data-predict="{path}"' in page
        assert client.post(path, **form(photo)).status_code == 200


def test_a_problem_is_shown_on_the_page_with_its_status(client: FlaskClient, photo: bytes) -> None:
    for data, status, title in (
        (form(b"words"), 415, "titles.415"),
        (form(photo[:2000]), 422, "titles.damaged_photo"),
        (form(b""), 422, "titles.422"),
        (form(encoded("PNG", (40, 8))), 422, "titles.too_small"),
    ):
        response = client.post("/", **data)
        assert response.status_code == status
        assert response.content_type == "text/html; charset=utf-8"
        detail = client.post("/predict", **data).get_json()["detail"]
        shown = html.unescape(response.text.split("<template")[0])
        assert message(title) in shown
        assert detail in shown
        assert 'name="image"' in response.text


def test_input_is_escaped_on_the_page(client: FlaskClient, photo: bytes) -> None:
    page = client.post("/", **form(photo, field="<script>alert(1)</script>")).text
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_page_has_no_inline_script_or_style(
    client: FlaskClient, photo: bytes, method: str
) -> None:
    page = client.get("/").text if method == "get" else client.post("/", **form(photo)).text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)


def test_every_script_of_the_page_is_preloaded(client: FlaskClient) -> None:
    scripts = {path.name for path in (ROOT / "app" / "web" / "static").glob("*.js")}
    preloaded = re.findall(r'rel="modulepreload" href="/static/([^"]+)"', client.get("/").text)
    others = {"page.js", "flower.js", "flowers.js"}
    assert sorted(preloaded) == sorted((scripts - others - SCRIPTS_ON_DEMAND) | {OFFER_SCRIPT})


def current_links(page: str) -> list[tuple[str, str]]:
    """Return the address and the aria-current of the marked links in the masthead."""
    masthead = page.split("</header>")[0]
    return re.findall(r'<a href="([^"]+)" aria-current="(\w+)">', masthead)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", [("/", "page")]),
        ("/flowers", [("/flowers", "page")]),
        ("/flowers?q=lily", [("/flowers", "page")]),
        ("/flowers/21-fire-lily", [("/flowers", "true")]),
        ("/about", [("/about", "page")]),
        ("/about/model", [("/about", "true")]),
        ("/docs", []),
        ("/offline", []),
        ("/nothing", []),
    ],
)
@pytest.mark.parametrize("language", ["en", "de"])
def test_each_page_links_to_the_sections_and_marks_its_own(
    client: FlaskClient, path: str, expected: list[tuple[str, str]], language: str
) -> None:
    page = client.get(path, headers={**BROWSER, "Accept-Language": language}).text
    shown = "en" if path == "/docs" else language
    for name, address in (("identify", "/"), ("flowers", "/flowers"), ("about", "/about")):
        label = re.escape(message(f"nav.{name}", shown))
        assert re.search(rf'<a href="{address}"[^>]*>{label}</a>', page)
    assert current_links(page) == expected


def test_a_result_belongs_to_the_section_of_the_start_page(
    client: FlaskClient, photo: bytes
) -> None:
    assert current_links(client.post("/", **form(photo)).text) == [("/", "page")]


def main_text(page: str) -> str:
    """Return the text of the page's main element, its spaces collapsed."""
    found = re.search("<main.*</main>", page, re.DOTALL)
    assert found
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", found[0])).split())


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_page_about_the_model_has_its_facts_and_thresholds(
    client: FlaskClient, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    rule = OodRule("max_logit", 6.04, known_probability=0.5)
    metrics: dict[str, dict[str, float]] = {
        "valid": {"n": 818, "top1": 0.9939, "top5": 0.9976},
        "everyday_dev": {"n": 205, "top1": 0.8, "top5": 0.9},
        "garden": {"n": 7, "top1": 1, "top5": 1},
        "unmeasured": {"n": 3},
    }
    changed = replace(classifier.metadata, ood_rule=rule, metrics=metrics)
    monkeypatch.setattr(classifier, "metadata", changed)
    response = client.get("/about/model", headers={**BROWSER, "Accept-Language": language})
    assert response.content_type == "text/html; charset=utf-8"
    shown = main_text(response.text)
    decimal = message("language.decimal", language)
    model = client.get("/model").get_json()
    for fact in (model["architecture"]["backbone"], model["version"], model["checkpoint"], "818"):
        assert fact in shown
    for number in ("99.4", "99.8", "50.0", "6.0"):
        assert number.replace(".", decimal) in shown
    assert "unmeasured" not in shown
    # A visitor does not know the names of the data sets.
    assert message("model.own_photos", language) in shown
    assert message("model.everyday_photos", language) in shown
    assert "everyday_dev" not in shown
    assert "garden" in shown
    side = classifier.metadata.transform.crop
    assert message("model.pixels", language, side=side) in shown
    assert message("model.unsure", language) in shown
    assert 'href="/v1/model"' in response.text
    assert client.get("/v1/model", headers=BROWSER).is_json


def test_the_page_about_a_model_without_rule_and_metrics_says_so(client: FlaskClient) -> None:
    shown = main_text(client.get("/about/model").text)
    assert message("model.verdicts_none") in shown
    assert message("model.accuracy_none") in shown
    assert message("model.unsure") not in shown


def test_a_rule_without_a_lowest_probability_has_two_verdicts(
    client: FlaskClient, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = OodRule("max_logit", 6.04, known_probability=0.0)
    monkeypatch.setattr(classifier, "metadata", replace(classifier.metadata, ood_rule=rule))
    shown = main_text(client.get("/about/model").text)
    assert message("model.known_score", threshold="6.0") in shown
    assert message("model.unsure") not in shown


def test_only_the_bundled_model_has_a_card(client: FlaskClient, app: Flask) -> None:
    address = "/about/model/card"
    assert f'href="{address}"' not in client.get("/about/model").text
    assert client.get(address).status_code == 404
    install_context(app, replace(context_of(app), checkpoint=BUNDLED_INT8))
    assert f'href="{address}"' in client.get("/about/model").text
    response = client.get(address)
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.text == (BUNDLED_INT8.parent / "README.md").read_text(encoding="utf-8")
