"""Review and export of the stored photos."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from app.feedback.contact_sheet import SHEET_FILE, TABLE_FILE, write_contact_sheet
from app.feedback.entry import RIGHT, UNSURE, FeedbackEntry
from app.feedback.photo_files import sha256_of
from app.feedback.review import (
    REJECT,
    FeedbackReview,
    ReviewError,
    read_decisions,
    write_table,
)
from app.feedback.store import FeedbackStore
from tests.app.feedback.conftest import ENTRY, MakeStore, entry
from tests.conftest import flower_image

CLASS_IDS = ("18", "21", "rose")


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    flower_image((40, 30), seed).save(file, "JPEG")
    return file.getvalue()


PHOTOS = tuple(jpeg(seed) for seed in range(3))
DIGESTS = tuple(map(sha256_of, PHOTOS))


@pytest.fixture
def store(make_store: MakeStore) -> FeedbackStore:
    """Return a store with three photos."""
    store = make_store()
    for number, photo in enumerate(PHOTOS):
        store.add(entry(number, photo))
    return store


@pytest.fixture
def review(store: FeedbackStore) -> FeedbackReview:
    return FeedbackReview(store)


def exported(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}


def test_nothing_is_exported_without_a_review(review: FeedbackReview, tmp_path: Path) -> None:
    assert review.export(tmp_path / "export").photos == 0
    assert exported(tmp_path / "export") == set()


def test_accepted_photos_are_exported_as_class_folders(
    review: FeedbackReview, tmp_path: Path
) -> None:
    assert review.decide({DIGESTS[0]: "18", DIGESTS[1]: REJECT}) == 0
    assert [photo.sha256 for photo in review.photos()] == [DIGESTS[2]]
    result = review.export(tmp_path / "export")
    assert (result.photos, result.removed, result.missing) == (1, 0, 0)
    assert exported(tmp_path / "export") == {f"18/{DIGESTS[0]}.jpg"}
    path = tmp_path / "export" / "18" / f"{DIGESTS[0]}.jpg"
    assert path.read_bytes() == PHOTOS[0]


def test_a_repeated_export_follows_deletions_and_new_decisions(
    store: FeedbackStore, review: FeedbackReview, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    review.decide({DIGESTS[0]: "18", DIGESTS[1]: "18", DIGESTS[2]: "rose"})
    review.export(folder)
    (folder / "18" / "mine.jpg").touch()
    code = store.add(entry(0, PHOTOS[0])).deletion_code  # the code of the stored entry
    assert store.delete(code)
    review.decide({DIGESTS[1]: "21", DIGESTS[2]: REJECT})
    result = review.export(folder)
    assert (result.photos, result.removed) == (1, 3)
    assert exported(folder) == {f"21/{DIGESTS[1]}.jpg", "18/mine.jpg"}
    assert not (folder / "rose").exists()


def test_a_photo_without_its_file_is_counted_and_left_out(
    store: FeedbackStore, review: FeedbackReview, tmp_path: Path
) -> None:
    review.decide(dict.fromkeys(DIGESTS, "18"))
    store.photos.path(DIGESTS[0]).unlink()
    result = review.export(tmp_path / "export")
    assert (result.photos, result.missing) == (2, 1)


@pytest.mark.parametrize("class_id", ["../outside", "/tmp/outside", "..", "a/b"])
def test_a_class_id_that_is_a_path_is_not_exported(
    review: FeedbackReview, tmp_path: Path, class_id: str
) -> None:
    review.decide({DIGESTS[0]: class_id})
    with pytest.raises(ReviewError):
        review.export(tmp_path / "export")
    assert exported(tmp_path) >= {f"feedback/photos/{digest}.jpg" for digest in DIGESTS}
    assert len(exported(tmp_path)) == 3


def test_decisions_on_deleted_photos_are_counted(review: FeedbackReview) -> None:
    assert review.decide({"0" * 64: "18", DIGESTS[0]: "18"}) == 1


def test_rejected_photos_are_deleted_with_their_entries(
    store: FeedbackStore, review: FeedbackReview, folder: Path
) -> None:
    code = store.add(entry(7, PHOTOS[0])).deletion_code
    kept = store.add(entry(8, PHOTOS[1])).deletion_code
    review.decide({DIGESTS[0]: REJECT, DIGESTS[1]: "18"})
    assert review.delete_rejected() == 1
    assert {path.stem for path in (folder / "photos").iterdir()} == set(DIGESTS[1:])
    assert [photo.sha256 for photo in review.photos(include_reviewed=True)] == list(DIGESTS[1:])
    assert not store.delete(code)
    assert store.delete(kept)
    assert review.delete_rejected() == 0
    # Sent again, it is a new photo.
    store.add(entry(9, PHOTOS[0]))
    assert DIGESTS[0] in {photo.sha256 for photo in review.photos()}


def test_confirmations_count_as_the_predicted_class(
    store: FeedbackStore, review: FeedbackReview
) -> None:
    for number, correction in enumerate((RIGHT, "21", UNSURE)):
        store.add(
            FeedbackEntry(f"more-{number}", correction, "21", "0123456789ab", photo=PHOTOS[0])
        )
    (photo,) = [item for item in review.photos() if item.sha256 == DIGESTS[0]]
    assert photo.corrections == {"18": 1, "21": 2, UNSURE: 1}
    assert photo.predicted == ("21",)


def test_the_table_survives_a_spreadsheet(review: FeedbackReview, tmp_path: Path) -> None:
    table = tmp_path / "decisions.csv"
    write_table(review.photos(), table)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [row["photo"] for row in rows] == list(DIGESTS)
    assert {row["decision"] for row in rows} == {""}
    assert read_decisions(table, CLASS_IDS) == {}
    for delimiter in ",;\t":
        lines = [delimiter.join(("photo", "decision", "note"))]
        lines += [delimiter.join((DIGESTS[0], " rose ", "x")), delimiter.join((DIGESTS[1], "", ""))]
        table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
        assert read_decisions(table, CLASS_IDS) == {DIGESTS[0]: "rose"}


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "decision"),
        ("photo\n", "decision"),
        (f"photo,decision\n{DIGESTS[0]},22\n", "22"),
        (f"photo,decision\n{DIGESTS[0]},rejct\n", REJECT),
        (f"photo,decision\n{DIGESTS[0]},../x\n", "../x"),
        ("photo,decision\n../../x,18\n", "SHA-256"),
        (f"photo,decision\n{DIGESTS[0]},18\n{DIGESTS[0]},21\n", DIGESTS[0]),
    ],
)
def test_a_bad_table_is_refused_as_a_whole(tmp_path: Path, text: str, fragment: str) -> None:
    table = tmp_path / "decisions.csv"
    table.write_text(text)
    with pytest.raises(ReviewError) as caught:
        read_decisions(table, CLASS_IDS)
    assert fragment in str(caught.value)


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(b"photo,decision\n\xe9,18\n")
    (tmp_path / "quote.csv").write_text('photo,decision\n"' + "a,18\n" * 50_000)  # an open quote
    for name in ("missing.csv", "latin.csv", "quote.csv"):
        with pytest.raises(ReviewError):
            read_decisions(tmp_path / name, CLASS_IDS)


def test_a_contact_sheet_shows_thumbnails_and_escapes_text(
    store: FeedbackStore, review: FeedbackReview, tmp_path: Path
) -> None:
    store.add(replace(ENTRY, correction="<script>", predicted="<b>"))
    store.photos.path(DIGESTS[2]).unlink()
    folder = tmp_path / "sheet"
    names = {"18": "peruvian <lily>"}
    write_contact_sheet(review.photos(), review.corrections_without_photo(), names, folder)
    page = (folder / SHEET_FILE).read_text()
    assert page.count("<img ") == 2
    assert "peruvian &lt;lily&gt;" in page
    assert "<script>" not in page
    assert "<b>" not in page
    for digest in DIGESTS[:2]:
        with Image.open(folder / "thumbnails" / f"{digest}.jpg") as image:
            assert image.size == (40, 30)
    assert DIGESTS[2] not in (folder / TABLE_FILE).read_text()
    with pytest.raises(ReviewError):
        write_contact_sheet([], review.corrections_without_photo(), names, folder)
