"""Pictures of the flowers: files, thumbnails, credits and missing ones."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.http.problems import Code
from model.backends.base import Outputs
from model.data import picture_folder
from model.data.picture_folder import Picture, PictureFolderError, write_manifest
from model.ood import OodRule
from tests.app.conftest import MakeApp, encoded, form
from tests.conftest import flower_image

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
LILY = "/flowers/21-fire-lily"
PNG = encoded("PNG")


def picture(**values: Any) -> Picture:
    defaults = {
        "file": "lily.webp",
        "class_id": "21",
        "title": "Gloriosa <superba>",
        "author": "A. Painter",
        "work": "The Book of Lilies",
        "year": "1801",
        "licence": "CC BY-SA 4.0",
        "source": "https://example.org/lily",
    }
    return Picture(**{**defaults, **values})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a picture of the fire lily."""
    flower_image((300, 400)).save(tmp_path / "lily.webp")
    write_manifest(tmp_path, [picture()])
    return tmp_path


@pytest.fixture
def illustrated(make_app: MakeApp, folder: Path) -> FlaskClient:
    return make_app(pictures=folder).test_client()


def addresses(page: str) -> list[str]:
    return [html.unescape(item) for item in re.findall(r'src="(/pictures/[^"]+)"', page)]


def test_a_flower_page_shows_its_picture_with_credits(
    illustrated: FlaskClient, folder: Path
) -> None:
    page = illustrated.get(LILY, headers=PAGE).text
    (address,) = addresses(page)
    assert 'width="300" height="400"' in page
    response = illustrated.get(address)
    assert response.content_type == "image/webp"
    assert response.data == (folder / "lily.webp").read_bytes()
    (caption,) = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert "Gloriosa &lt;superba&gt;" in caption
    for part in ("A. Painter", "The Book of Lilies", "1801", "CC BY-SA 4.0"):
        assert part in caption
    assert 'href="https://creativecommons.org/licenses/by-sa/4.0/"' in caption
    assert 'href="https://example.org/lily"' in caption


def test_the_list_shows_a_thumbnail(illustrated: FlaskClient) -> None:
    page = illustrated.get("/flowers", headers=PAGE).text
    (address,) = addresses(page)
    response = illustrated.get(address)
    assert response.content_type == "image/webp"
    with Image.open(io.BytesIO(response.data)) as image:
        assert image.size == (128, 128)
    assert len(response.data) < 10_000


def test_predictions_have_their_pictures(illustrated: FlaskClient, photo: bytes) -> None:
    predictions = illustrated.post("/predict?top_k=6", **form(photo)).get_json()["predictions"]
    found = {item["class_id"]: item["picture"] for item in predictions}
    lily = found.pop("21")
    assert set(found.values()) == {None}
    assert (lily["width"], lily["height"]) == (300, 400)
    for name, size in (("url", (300, 400)), ("thumbnail_url", (128, 128))):
        response = illustrated.get(lily[name])
        assert response.cache_control.immutable
        with Image.open(io.BytesIO(response.data)) as image:
            assert image.size == size


def test_a_flower_of_the_api_has_its_picture_with_credits(illustrated: FlaskClient) -> None:
    credited = illustrated.get(LILY).get_json()["picture"]
    assert credited["url"] in illustrated.get(LILY, headers=PAGE).text
    assert credited["author"] == "A. Painter"
    assert credited["licence"] == "CC BY-SA 4.0"
    assert credited["source"] == "https://example.org/lily"
    assert illustrated.get("/flowers/5-english-marigold").get_json()["picture"] is None


def test_a_result_shows_the_picture_of_its_name(
    make_app: MakeApp, folder: Path, photo: bytes
) -> None:
    logits = np.zeros(6, np.float32)
    logits[4] = 2  # the fire lily

    def run(batch: npt.NDArray[np.uint8]) -> list[Outputs]:
        return [Outputs(logits, None)] * len(batch)

    def addresses_with(pictures: Path | None, known_probability: float) -> list[str]:
        rule = OodRule("max_logit", -1000, known_probability=known_probability)
        app = make_app(run=run, ood_rule=rule, pictures=pictures)
        return addresses(app.test_client().post("/", **form(photo)).text.split("<template")[0])

    # To compare with the photo, or on its card.
    for known_probability in (0.0, 1.0):
        (address,) = addresses_with(folder, known_probability)
        assert address.startswith("/pictures/lily.webp?v=")
        assert addresses_with(None, known_probability) == []


def test_an_unlikely_name_has_a_thumbnail(make_app: MakeApp, folder: Path, photo: bytes) -> None:
    rule = OodRule("max_logit", 1000)
    page = make_app(ood_rule=rule, pictures=folder).test_client().post("/", **form(photo)).text
    shown = page.split("<template")[0]
    assert [item.partition("?")[0] for item in addresses(shown)] == [
        "/pictures/lily.webp/thumbnail"
    ] * ("Fire lily" in shown)
    assert 'width="64" height="64" loading="lazy"' in page


def test_a_picture_with_its_version_is_cached_for_a_year(illustrated: FlaskClient) -> None:
    (address,) = addresses(illustrated.get(LILY, headers=PAGE).text)
    for path in (address, address.replace("?", "/thumbnail?")):
        versioned = illustrated.get(path)
        assert versioned.cache_control.max_age == 365 * 24 * 3600
        assert versioned.cache_control.immutable
        assert not versioned.cache_control.no_cache
        plain = illustrated.get(path.partition("?")[0])
        assert plain.cache_control.no_cache
        assert plain.cache_control.max_age is None
        again = illustrated.get(path, headers={"If-None-Match": plain.headers["ETag"]})
        assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/manifest.json",
        "/pictures/other.webp",
        "/pictures/..%2Fsecret.webp",
        "/pictures/%2E%2E/secret.webp",
        "/pictures/lily.webp%00",
        "/pictures/LILY.webp/thumbnail",
        "/pictures/",
    ],
)
def test_other_files_are_not_served(illustrated: FlaskClient, folder: Path, path: str) -> None:
    (folder.parent / "secret.webp").write_bytes((folder / "lily.webp").read_bytes())
    (folder / "other.webp").write_bytes((folder / "lily.webp").read_bytes())
    response = illustrated.get(path)
    assert response.status_code == 404
    assert response.get_json()["code"] == Code.NOT_FOUND


def test_about_names_sources_and_credits(illustrated: FlaskClient, client: FlaskClient) -> None:
    page = html.unescape(illustrated.get("/about", headers=PAGE).text)
    assert "Washington Poison Center" in page
    assert "The Book of Lilies" in page
    assert f'href="{LILY}"' in page
    assert "The Book of Lilies" not in client.get("/about", headers=PAGE).text


@pytest.mark.parametrize("content", [None, b"no picture", b"", PNG[:60], PNG[: len(PNG) // 2]])
def test_a_missing_or_damaged_picture_leaves_no_hole(
    make_app: MakeApp, folder: Path, content: bytes | None
) -> None:
    (folder / "lily.webp").unlink()
    if content is not None:
        (folder / "lily.webp").write_bytes(content)
    client = make_app(pictures=folder).test_client()
    for path in (LILY, "/flowers"):
        page = client.get(path, headers=PAGE).text
        assert "<figure" not in page
        assert addresses(page) == []
    assert client.get("/pictures/lily.webp").status_code == 404
    assert client.get("/pictures/lily.webp/thumbnail").status_code == 404


def test_a_turned_picture_has_the_size_of_the_upright_one(make_app: MakeApp, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    flower_image((400, 300)).save(folder / "lily.webp", exif=exif)
    page = make_app(pictures=folder).test_client().get(LILY, headers=PAGE).text
    assert 'width="300" height="400"' in page


def test_a_picture_of_another_class_with_the_same_id_is_not_shown(
    make_app: MakeApp, folder: Path
) -> None:
    write_manifest(folder, [picture(class_name="edelweiss")])
    page = make_app(pictures=folder).test_client().get(LILY, headers=PAGE).text
    assert addresses(page) == []


def test_a_large_picture_is_reduced(make_app: MakeApp, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"  # description
    flower_image((3000, 1500)).save(folder / "lily.jpg", exif=exif)
    write_manifest(folder, [picture(file="lily.jpg")])
    client = make_app(pictures=folder).test_client()
    page = client.get(LILY, headers=PAGE).text
    assert 'width="1024" height="512"' in page
    (address,) = addresses(page)
    response = client.get(address)
    assert response.content_type == "image/webp"
    assert b"secret" not in response.data
    with Image.open(io.BytesIO(response.data)) as image:
        assert (image.format, image.size) == ("WEBP", (1024, 512))


def test_classes_may_share_a_picture(make_app: MakeApp, folder: Path) -> None:
    write_manifest(folder, [picture(), picture(class_id="1")])
    page = make_app(pictures=folder).test_client().get("/flowers", headers=PAGE).text
    assert len(addresses(page)) == 2


def test_the_default_folder_is_used_if_it_has_a_manifest(
    make_app: MakeApp, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.catalog.pictures.DEFAULT_PICTURES", folder)
    assert addresses(make_app().test_client().get(LILY, headers=PAGE).text)
    (folder / picture_folder.MANIFEST).unlink()
    assert not addresses(make_app().test_client().get(LILY, headers=PAGE).text)


def test_a_folder_without_manifest_is_refused(make_app: MakeApp, tmp_path: Path) -> None:
    with pytest.raises(PictureFolderError, match="make pictures"):
        make_app(pictures=tmp_path)
