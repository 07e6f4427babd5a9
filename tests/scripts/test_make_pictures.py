"""Command line of `make_pictures.py`, against a local server."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.checkpoint.labels import read_category_names
from model.data.download import fetch
from model.data.picture_folder import Picture, read_manifest, write_manifest
from model.data.plates import PLATES, read_plates
from scripts.make_pictures import main
from tests.conftest import ROOT, flower_image
from tests.file_server import FileServer, running_file_server

CREDITS = {"title": "A", "author": "B", "work": "C", "year": "1801", "licence": "Public domain"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_file_server() as server:
        yield server


def png(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    flower_image(size).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def plates(server: FileServer, tmp_path: Path) -> Path:
    """Return a list of two downloads, the second with a crop."""
    entries = []
    for number, size in ((1, (900, 1800)), (2, (400, 200))):
        data = png(size)
        server.files[f"/{number}.png"] = data
        entry: dict[str, Any] = {
            **CREDITS,
            "class_id": str(number),
            "class_name": f"flower {number}",
            "url": server.url(f"/{number}.png"),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        entries.append(entry)
    entries[1]["crop"] = [0.25, 0, 0.75, 1]
    path = tmp_path / "plates.json"
    path.write_text(json.dumps(entries))
    return path


def run(plates: Path, folder: Path) -> int:
    return main(["--list", str(plates), "--output", str(folder)])


def sizes(folder: Path) -> list[tuple[int, int]]:
    found = []
    for item in read_manifest(folder):
        with Image.open(folder / item.file) as image:
            assert image.format == "WEBP"
            found.append(image.size)
    return found


def test_pictures_are_downloaded_cropped_and_resized(plates: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    assert run(plates, folder) == 0
    assert sizes(folder) == [(320, 640), (200, 200)]
    first = read_manifest(folder)[0]
    assert (first.class_id, first.class_name, first.year) == ("1", "flower 1", "1801")
    assert first.source
    assert first.source.startswith("http://127.0.0.1")


def test_it_goes_on_when_one_is_missing_and_adds_it_later(
    plates: Path, server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    data = server.files.pop("/1.png")
    assert run(plates, folder) == 0
    output = capsys.readouterr()
    assert "/1.png" in output.err
    assert "1 of 2" in output.out
    assert [item.class_id for item in read_manifest(folder)] == ["2"]
    server.files["/1.png"] = data
    server.requests.clear()
    assert run(plates, folder) == 0
    assert server.requests == ["/1.png"]  # the other is there
    assert [item.class_id for item in read_manifest(folder)] == ["1", "2"]
    server.requests.clear()
    (folder / read_manifest(folder)[1].file).unlink()
    assert run(plates, folder) == 0
    assert server.requests == ["/2.png"]


@pytest.mark.parametrize("change", ["hash", "picture"])
def test_another_file_or_no_picture_is_left_out(
    plates: Path,
    server: FileServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    server.files["/1.png"] = b"no picture"
    if change == "picture":
        entries = json.loads(plates.read_text())
        entries[0]["sha256"] = hashlib.sha256(b"no picture").hexdigest()
        plates.write_text(json.dumps(entries))
    folder = tmp_path / "pictures"
    assert run(plates, folder) == 0
    assert [item.class_id for item in read_manifest(folder)] == ["2"]
    assert "/1.png" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "plate-2.webp"]


def test_an_interrupted_run_keeps_what_it_has(
    plates: Path, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"

    def interrupt(url: str, path: Path, digest: str) -> None:
        if url.endswith("/2.png"):
            raise KeyboardInterrupt
        fetch(url, path, digest)

    with monkeypatch.context() as patch:
        patch.setattr("model.data.plates.fetch", interrupt)
        assert run(plates, folder) == 130
    assert [item.class_id for item in read_manifest(folder)] == ["1"]
    server.requests.clear()
    assert run(plates, folder) == 0
    assert server.requests == ["/2.png"]
    # What is not reached again stays, too.
    (folder / read_manifest(folder)[0].file).unlink()
    with monkeypatch.context() as patch:
        patch.setattr("model.data.plates.fetch", lambda *_: interrupt("/2.png", folder, ""))
        assert run(plates, folder) == 130
    assert [item.class_id for item in read_manifest(folder)] == ["2"]


def test_a_picture_with_too_many_pixels_is_left_out(
    plates: Path, server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(png((2, 2)))
    data[16:24] = struct.pack(">II", 60_000, 60_000)  # width and height
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    server.files["/1.png"] = bytes(data)
    entries = json.loads(plates.read_text())
    entries[0]["sha256"] = hashlib.sha256(data).hexdigest()
    plates.write_text(json.dumps(entries))
    folder = tmp_path / "pictures"
    assert run(plates, folder) == 0
    assert [item.class_id for item in read_manifest(folder)] == ["2"]
    assert "/1.png" in capsys.readouterr().err


def test_without_any_picture_it_fails(plates: Path, server: FileServer, tmp_path: Path) -> None:
    server.files.clear()
    assert run(plates, tmp_path / "pictures") == 1


def test_own_pictures_stay(plates: Path, server: FileServer, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    own = Picture(**CREDITS, file="mine.png", class_id="1")
    write_manifest(folder, [own])
    flower_image().save(folder / "mine.png")
    assert run(plates, folder) == 0
    assert server.requests == ["/2.png"]
    assert [item.file for item in read_manifest(folder)] == ["mine.png", "plate-2.webp"]
    assert read_manifest(folder)[0] == own


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '[{"class_id": "1"}]', "1"])
def test_a_malformed_list_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    assert run(path, tmp_path / "pictures") == 1
    assert str(path) in capsys.readouterr().err


def test_the_projects_list_names_80_classes_with_credits() -> None:
    plates = read_plates(PLATES)
    names = read_category_names(ROOT / "model" / "data" / "cat_to_name.json")
    assert len({plate.class_id for plate in plates}) == len(plates) == 80
    assert all(plate.class_name == names[plate.class_id] for plate in plates)
    assert {plate.licence for plate in plates} == {"Public domain", "CC BY 2.0"}
    for plate in plates:
        assert plate.crop is None or all(0 <= edge <= 1 for edge in plate.crop)
        assert plate.url.startswith("https://")
