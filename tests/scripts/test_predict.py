"""Command line of `predict.py`."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.backbones import build_network, data_transform
from model.checkpoint.format import save_checkpoint
from model.checkpoint.labels import name_classes, read_category_names
from model.checkpoint.metadata import Architecture, Metadata
from model.classifier import Classifier
from model.imaging.decode import decode_image
from model.ood import OodRule
from scripts import predict
from scripts.predict import main
from tests.conftest import TINY_CLASSES, flower_image
from tests.fake_checkpoint import always, save_fake_checkpoint

Output = pytest.CaptureFixture[str]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    flower_image((200, 180)).save(path)
    return path


@pytest.fixture
def fire_lily(tmp_path: Path) -> Path:
    """Save a checkpoint that ranks classes 21 (fire lily), 5, 2, 100, 10 and 1 for every photo."""
    return save_fake_checkpoint(tmp_path / "fire lily.safetensors", always(4))


def run_json(capsys: Output, *arguments: str | Path) -> list[tuple[str, list[dict[str, object]]]]:
    """Run with --format json; return pairs of file name and predictions."""
    main([*map(str, arguments), "--format", "json"])
    return [(item["file"], item["predictions"]) for item in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize("index", range(6))
def test_each_logit_has_its_own_id_and_name(
    tmp_path: Path, photo: Path, capsys: Output, index: int
) -> None:
    checkpoint = save_fake_checkpoint(tmp_path / "fake.safetensors", always(index))
    ((_, predictions),) = run_json(capsys, photo, "--checkpoint", checkpoint, "--top-k", "1")
    expected = TINY_CLASSES[index]
    assert predictions[0]["class_id"] == expected.class_id
    assert predictions[0]["name"] == expected.name


def test_probabilities_use_the_temperature(tmp_path: Path, photo: Path, capsys: Output) -> None:
    checkpoint = save_fake_checkpoint(tmp_path / "fake.safetensors", always(4), temperature=3.0)
    ((_, predictions),) = run_json(capsys, photo, "--checkpoint", checkpoint, "--top-k", "6")
    powers = [math.exp(logit / 3) for logit in sorted(always(4), reverse=True)]
    assert [item["probability"] for item in predictions] == pytest.approx(
        [power / sum(powers) for power in powers], abs=1e-5
    )


def test_results_match_the_service(tiny_checkpoint: Path, photo: Path, capsys: Output) -> None:
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    side = classifier.metadata.transform.resize
    image = decode_image(photo.read_bytes(), target_side=side)
    served = classifier.predict([image], top_k=6)[0].predictions
    ((_, rows),) = run_json(capsys, photo, "--checkpoint", tiny_checkpoint, "--top-k", "6")
    assert [row["class_id"] for row in rows] == [row.class_id for row in served]
    assert [row["probability"] for row in rows] == pytest.approx(
        [row.probability for row in served], abs=1e-6
    )


def test_text_output_has_the_file_and_its_names(
    fire_lily: Path, photo: Path, capsys: Output
) -> None:
    assert main([str(photo), "--checkpoint", str(fire_lily), "--top-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(photo)
    assert lines[1].endswith("fire lily (21)")
    assert 97 < float(lines[1].split()[0]) < 99
    assert lines[2].endswith("english marigold (5)")
    assert len(lines) == 3


def test_csv_output_has_a_header_and_a_row_per_name(
    fire_lily: Path, photo: Path, capsys: Output
) -> None:
    assert main([str(photo), "--checkpoint", str(fire_lily), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["class_id"] for row in rows] == ["21", "5", "2", "100", "10"]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row["file"] for row in rows} == {str(photo)}
    assert rows[2]["name"] == "hard-leaved pocket orchid"


def test_folders_are_searched_for_photos_in_sorted_order(
    fire_lily: Path, tmp_path: Path, capsys: Output
) -> None:
    folder = tmp_path / "album"
    for name in ("b.PNG", "a.jpg", "sub/deeper/c.webp", "sub/2.gif", ".cache/d.png", "._a.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        flower_image((100, 90)).save(folder / name)
    (folder / "photo.heic").write_text("no photo")
    arguments = [folder, "--checkpoint", fire_lily, "--batch-size", "2", "--format", "json"]
    assert main([str(item) for item in arguments]) == 0
    output, error = capsys.readouterr()
    assert "1 .heic" in error
    results = [(item["file"], item["predictions"]) for item in json.loads(output)]
    files = [Path(file).relative_to(folder) for file, _ in results]
    assert list(map(str, files)) == ["a.jpg", "b.PNG", "sub/2.gif", "sub/deeper/c.webp"]


def test_bad_files_are_named_and_the_others_classified(
    fire_lily: Path, photo: Path, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:400])
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    bad = [tmp_path / name for name in ("cut.png", "letter.pdf", "loop.jpg", "nowhere.jpg")]
    arguments = [*bad, photo, "--checkpoint", fire_lily, "--top-k", "1"]
    assert main([str(item) for item in arguments]) == 1
    output, error = capsys.readouterr()
    assert output.splitlines()[0] == str(photo)
    lines = error.splitlines()
    assert len(lines) == 4
    for path, line in zip(bad, lines, strict=True):
        assert line.startswith(f"error: {path}: ")


def test_a_file_without_permission_is_reported(
    fire_lily: Path, photo: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Raise it here, because CI may run as root, who may read every file.
    def refuse(*_: object) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("model.prediction.stream.read_regular_file", refuse)
    assert main([str(photo), "--checkpoint", str(fire_lily)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {photo}: ")


@pytest.mark.parametrize(("output_format", "expected"), [("json", "[]\n"), ("text", "")])
def test_a_folder_without_photos_is_a_failure(
    fire_lily: Path, tmp_path: Path, capsys: Output, output_format: str, expected: str
) -> None:
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / "empty"), "--checkpoint", str(fire_lily)]
    assert main([*arguments, "--format", output_format]) == 1
    output, error = capsys.readouterr()
    assert output == expected
    assert error.startswith(f"error: {tmp_path / 'empty'}: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ['quo"te,comma.png', "new\nline.png", "rosé 🌹.png", "\x1b[31mred.png", "-dash.png"]
)
def test_unusual_file_names_are_kept(
    fire_lily: Path, photo: Path, capsys: Output, name: str
) -> None:
    folder = photo.parent / "unusual"
    folder.mkdir()
    photo.rename(folder / name)
    arguments = [str(folder), "--checkpoint", str(fire_lily), "--top-k", "1"]
    ((file, _),) = run_json(capsys, *arguments)
    assert file == str(folder / name)
    main([*arguments, "--format", "csv"])
    # The csv module needs newline="" to keep a newline in a name.
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert row["file"] == str(folder / name)
    main(arguments)
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 3  # the last one is empty
    assert "\x1b" not in lines[0]


def test_a_file_name_that_is_not_utf_8_keeps_its_bytes(
    fire_lily: Path, photo: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    name = os.fsencode(photo.parent) + b"/\xff.png"
    os.rename(photo, name)  # noqa: PTH104  # the path is bytes
    main([os.fsdecode(name), "--checkpoint", str(fire_lily), "--format", "csv", "--top-k", "1"])
    assert name in capfdbinary.readouterr().out


def test_a_name_that_starts_with_a_dash_follows_two_dashes(
    fire_lily: Path, photo: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo.rename(photo.parent / "-photo.png")
    monkeypatch.chdir(photo.parent)
    assert main(["--checkpoint", str(fire_lily), "--", "-photo.png"]) == 0
    assert "-photo.png\n" in capsys.readouterr().out


def test_a_dash_reads_one_photo_from_stdin(
    fire_lily: Path, photo: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(photo.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    ((file, predictions),) = run_json(capsys, "-", "--checkpoint", fire_lily)
    assert file == "-"
    assert predictions[0]["name"] == "fire lily"


def test_fewer_than_five_classes_are_all_listed(
    tmp_path: Path, photo: Path, capsys: Output
) -> None:
    path = tmp_path / "three.safetensors"
    checkpoint = save_fake_checkpoint(path, [1.0, 3.0, 2.0], classes=TINY_CLASSES[:3])
    ((_, predictions),) = run_json(capsys, photo, "--checkpoint", checkpoint)
    assert [item["class_id"] for item in predictions] == ["10", "100", "1"]


@pytest.mark.parametrize(
    "wrong", [["--top-k", "7"], ["--top-k", "0"], ["--format", "xml"], ["--plot", "a.txt"]]
)
def test_wrong_usage_is_exit_code_2(fire_lily: Path, photo: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(photo), "--checkpoint", str(fire_lily), *wrong])
    assert stop.value.code == 2


def test_a_bad_checkpoint_is_one_line_and_exit_code_1(photo: Path, capsys: Output) -> None:
    assert main([str(photo), "--checkpoint", str(photo)]) == 1
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith(f"error: {photo} ")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_plot_skips_unreadable_photos(fire_lily: Path, photo: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "plot.png"
    arguments = [photo, tmp_path / "nowhere.jpg", "--checkpoint", fire_lily, "--plot", picture]
    assert main(list(map(str, arguments))) == 1
    with Image.open(picture) as image:
        assert image.height > image.width > 300


@pytest.mark.parametrize("option", ["--plot", "--explain"])
def test_too_many_photos_to_draw_are_refused(
    fire_lily: Path, photo: Path, tmp_path: Path, capsys: Output, option: str
) -> None:
    arguments = [*[photo] * 13, "--checkpoint", fire_lily, option, tmp_path / "plot.png"]
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, arguments)))
    assert stop.value.code == 2
    assert option in capsys.readouterr().err


@pytest.mark.slow
def test_explain_draws_the_activation_map_on_the_photo(
    tiny_checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    plain, explained = tmp_path / "plain.png", tmp_path / "new" / "explained.png"
    arguments = [photo, "--checkpoint", tiny_checkpoint, "--plot", plain, "--explain", explained]
    assert main(list(map(str, arguments))) == 0
    with Image.open(plain) as first, Image.open(explained) as second:
        assert first.size == second.size
        rows = np.nonzero(np.asarray(first) != np.asarray(second))[0]
    # The photo differs, the bars below it do not.
    assert len(rows) > 0
    assert rows.max() < 0.75 * first.height


def test_explain_without_activation_maps_is_an_error(
    tmp_path: Path, photo: Path, capsys: Output
) -> None:
    architecture = Architecture("test_efficientnet", len(TINY_CLASSES), hidden_layers=(8,))
    network = build_network(architecture)
    checkpoint = tmp_path / "hidden.safetensors"
    metadata = Metadata(architecture, TINY_CLASSES, data_transform(network))
    save_checkpoint(checkpoint, network.state_dict(), metadata)
    picture = tmp_path / "explained.png"
    arguments = [photo, "--checkpoint", checkpoint, "--explain", picture]
    assert main(list(map(str, arguments))) == 1
    output, error = capsys.readouterr()
    assert output.startswith(str(photo))
    assert error.startswith("error: --explain ")
    assert error.count("\n") == 1
    assert not picture.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threshold", "verdict", "known"), [(8.5, "known", True), (9.5, "unknown", False)]
)
def test_every_format_has_the_verdict(
    tmp_path: Path, photo: Path, capsys: Output, threshold: float, verdict: str, known: bool
) -> None:
    rule = OodRule("max_logit", threshold)
    checkpoint = tmp_path / "fake.safetensors"
    save_fake_checkpoint(checkpoint, always(4), ood_rule=rule)
    arguments = [str(photo), "--checkpoint", str(checkpoint), "--format"]

    assert main([*arguments, "json"]) == 0
    (item,) = json.loads(capsys.readouterr().out)
    assert item["verdict"] == verdict
    assert item["ood"] == {
        "score": pytest.approx(9, abs=1e-4),
        "threshold": threshold,
        "is_known": known,
    }

    assert main([*arguments, "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["verdict"] for row in rows] == [verdict] * 5

    assert main([*arguments, "text"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (6 if known else 7)
    assert lines[-5].endswith("fire lily (21)")  # the names follow in either case


def test_a_checkpoint_without_a_rule_is_unchecked(
    fire_lily: Path, photo: Path, capsys: Output
) -> None:
    assert main([str(photo), "--checkpoint", str(fire_lily), "--format", "json"]) == 0
    (item,) = json.loads(capsys.readouterr().out)
    assert item["ood"] is None
    assert item["verdict"] == "unchecked"


def test_ctrl_c_ends_with_130_and_no_traceback(
    fire_lily: Path, photo: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "classify", interrupted)
    assert main([str(photo), "--checkpoint", str(fire_lily)]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.data
def test_real_photos_are_named_in_every_format(
    data_dir: Path, tmp_path: Path, capsys: Output
) -> None:
    names = read_category_names(data_dir / "cat_to_name.json")
    classes = name_classes(sorted(names), names)
    index = [item.class_id for item in classes].index("21")
    logits = [5.0 if other == index else 0.0 for other in range(len(classes))]
    checkpoint = save_fake_checkpoint(tmp_path / "real.safetensors", logits, classes=classes)
    for class_id in sorted(names)[::3]:
        photo = min((data_dir / "valid" / class_id).iterdir())
        shutil.copy(photo, tmp_path)
    arguments = [str(tmp_path), "--checkpoint", str(checkpoint), "--top-k", "1"]
    for output_format, lines in (("text", 68), ("csv", 35), ("json", 36)):
        assert main([*arguments, "--format", output_format]) == 0
        output = capsys.readouterr().out
        assert len(output.splitlines()) == lines
        assert output.count("fire lily") == 34


def test_a_pipe_and_a_name_that_is_too_long_are_failures_of_one_photo(
    photo: Path, fire_lily: Path, tmp_path: Path, capsys: Output
) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    names = [str(pipe), "x" * 300, str(photo)]
    assert main([*names, "--checkpoint", str(fire_lily), "--top-k", "1"]) == 1
    out, err = capsys.readouterr()
    assert "fire lily" in out
    assert [line.startswith("error: ") for line in err.splitlines()] == [True, True]
