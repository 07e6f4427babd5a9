"""Command line of the review, from a contact sheet to photos that training accepts."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from app.feedback.entry import FeedbackEntry
from app.feedback.store import FeedbackStore
from model.data.photo_folder import PhotoFolder
from scripts.command_line import FAILED
from scripts.export_feedback import main
from tests.app.conftest import encoded
from tests.conftest import TINY_CLASSES


@pytest.fixture
def store_folder(tmp_path: Path) -> Path:
    """Return the folder of a store with two photos."""
    folder = tmp_path / "feedback"
    store = FeedbackStore(folder, None, 10_000_000)
    for seed in (0, 1):
        photo = encoded(size=(60, 40), seed=seed)
        store.add(FeedbackEntry(f"request-{seed}", "21", "5", "0123456789ab", photo))
    store.close()
    return folder


def test_reviewed_photos_become_a_training_folder(
    store_folder: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--feedback-dir", str(store_folder), "--checkpoint", str(tiny_checkpoint)]
    sheet, export = tmp_path / "sheet", tmp_path / "export"
    assert main([*options, "sheet", str(sheet)]) == 0
    table = sheet / "decisions.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    rows[0]["decision"], rows[1]["decision"] = "21", "reject"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert main([*options, "review", str(table)]) == 0
    assert main([*options, "export", str(export)]) == 0
    assert "1 photo" in capsys.readouterr().out
    photos = PhotoFolder(
        export, lambda image: image, class_ids=[item.class_id for item in TINY_CLASSES]
    )
    assert [Path(path).name for path, _ in photos.samples] == [f"{rows[0]['photo']}.jpg"]
    assert main([*options, "delete-rejected"]) == 0
    assert [path.stem for path in (store_folder / "photos").iterdir()] == [rows[0]["photo"]]


def test_the_environment_names_the_folder(
    store_folder: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETALSCOPE_FEEDBACK_DIR", str(store_folder))
    assert main(["--checkpoint", str(tiny_checkpoint), "sheet", str(tmp_path / "sheet")]) == 0


def test_a_wrong_decision_changes_nothing(
    store_folder: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--feedback-dir", str(store_folder), "--checkpoint", str(tiny_checkpoint)]
    digests = [path.stem for path in (store_folder / "photos").iterdir()]
    table = tmp_path / "decisions.csv"
    table.write_text(f"photo,decision\n{digests[0]},21\n{digests[1]},22\n")
    assert main([*options, "review", str(table)]) == FAILED
    assert "22" in capsys.readouterr().err
    assert main([*options, "export", str(tmp_path / "export")]) == 0
    assert list((tmp_path / "export").iterdir()) == []


@pytest.mark.parametrize("arguments", [["sheet"], ["export", "x"], []])
def test_missing_arguments_are_named(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PETALSCOPE_FEEDBACK_DIR", raising=False)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_folder_without_feedback_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--feedback-dir", str(tmp_path), "export", str(tmp_path / "export")])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_database_is_elsewhere_is_left_alone(
    store_folder: Path, tmp_path: Path
) -> None:
    # Its service uses PostgreSQL, and nobody has sent a photo yet.
    for path in (store_folder / "photos").iterdir():
        path.unlink()
    for path in store_folder.glob("feedback.sqlite3*"):
        path.unlink()
    before = (store_folder / "store-id").read_text()
    with pytest.raises(SystemExit) as caught:
        main(["--feedback-dir", str(store_folder), "export", str(tmp_path / "export")])
    assert caught.value.code == 2
    assert (store_folder / "store-id").read_text() == before
    assert not list(store_folder.glob("feedback.sqlite3*"))


def test_an_unusable_database_is_one_line(
    store_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql://user:secret@127.0.0.1:9/db"
    options = ["--feedback-dir", str(store_folder), "--database-url", url]
    assert main([*options, "export", str(tmp_path / "export")]) == FAILED
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "secret" not in error
    shutil.rmtree(tmp_path / "export", ignore_errors=True)
