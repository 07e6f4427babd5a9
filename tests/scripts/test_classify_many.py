"""Command line of `classify_many.py`."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from model.bulk.job import Shard
from scripts.classify_many import main, shard_from_environment
from tests.conftest import ROOT, flower_image
from tests.fake_checkpoint import always, save_fake_checkpoint
from tests.object_store import BUCKET, running_object_store

PHOTOS = 24
PART_SIZE = 2
MAX_RUNS = 60

Output = pytest.CaptureFixture[str]


def write_photos(folder: Path, size: tuple[int, int]) -> Path:
    """Write 24 photos, of which one is damaged, and return their folder."""
    folder.mkdir()
    for index in range(PHOTOS):
        flower_image(size, seed=index).save(folder / f"{index:02}.png")
    (folder / "05.png").write_bytes(b"\x89PNG\r\n")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("classify_many") / "photos", (120, 100))


@pytest.fixture
def fire_lily(tmp_path: Path) -> Path:
    return save_fake_checkpoint(tmp_path / "fire lily.safetensors", always(4))


def command(photos: Path | str, output: Path | str, checkpoint: Path, *options: str) -> list[str]:
    arguments = [str(photos), "--output", str(output), "--checkpoint", str(checkpoint)]
    return [*arguments, "--part-size", str(PART_SIZE), "--batch-size", "4", *options]


def started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "scripts/classify_many.py", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def rows(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(output).to_pylist()
    return found


def assert_complete(output: Path, photos: Path) -> None:
    """Check that each photo has exactly one row."""
    counted = Counter(row["path"] for row in rows(output))
    assert counted == Counter(path.name for path in photos.iterdir())


def test_all_photos_have_a_row_and_a_damaged_one_is_no_failure(
    photos: Path, fire_lily: Path, tmp_path: Path, capsys: Output
) -> None:
    output = tmp_path / "out"
    assert main(command(photos, output, fire_lily)) == 0
    assert_complete(output, photos)
    assert [row["path"] for row in rows(output) if row["error"]] == ["05.png"]
    assert {row["names"][0] for row in rows(output) if not row["error"]} == {"fire lily"}
    before = sorted((path.name, path.stat().st_mtime_ns) for path in output.iterdir())
    assert main(command(photos, output, fire_lily)) == 0  # nothing is left to do
    assert sorted((path.name, path.stat().st_mtime_ns) for path in output.iterdir()) == before
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_killed_at_random_moments_and_repeated_it_equals_predict(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    # Large enough that a process does not finish before it is killed.
    photos = write_photos(tmp_path / "photos", (600, 500))
    output = tmp_path / "out"
    moments = random.Random(19)
    kills = 0
    for _ in range(MAX_RUNS):
        # Temporary files count, so that some processes are killed before they rename one.
        enough = len(list(output.glob("*"))) + moments.randint(1, 4)
        process = started(*command(photos, output, tiny_onnx))
        while process.poll() is None and len(list(output.glob("*"))) < enough:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        _, error = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), error.decode()
        if process.returncode == 0:
            break
        kills += 1
    else:
        # Kills may have left only temporary files behind; the last run is not disturbed.
        assert started(*command(photos, output, tiny_onnx)).wait() == 0
    print(f"{kills} kills")
    assert kills > 1
    assert_complete(output, photos)

    predict = [sys.executable, "scripts/predict.py", str(photos), "--checkpoint", str(tiny_onnx)]
    done = subprocess.run([*predict, "--format", "json"], cwd=ROOT, capture_output=True, text=True)
    expected = {Path(item["file"]).name: item for item in json.loads(done.stdout)}
    for row in rows(output):
        if row["error"]:
            assert row["path"] not in expected
            continue
        item = expected[row["path"]]
        assert row["verdict"] == item["verdict"]
        assert row["class_ids"] == [best["class_id"] for best in item["predictions"]]
        assert row["probabilities"] == pytest.approx(
            [best["probability"] for best in item["predictions"]], abs=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("log", ["closed", "full"])
def test_a_log_that_cannot_be_written_does_not_end_the_job(
    log: str, photos: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed, Path("/dev/full").open("wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "scripts/classify_many.py", *command(photos, tmp_path, tiny_onnx)],
            cwd=ROOT,
            stderr={"closed": closed, "full": full}[log],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 0
    assert_complete(tmp_path, photos)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_a_repetition_completes_the_job(
    photos: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    output = tmp_path / "out"
    arguments = command(photos, output, tiny_onnx, "--part-size", str(PHOTOS))
    process = subprocess.run(
        [sys.executable, "scripts/classify_many.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit_files,
    )
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in process.stderr
    assert [path.name for path in output.iterdir()] == ["_photos.parquet"]
    assert main(arguments) == 0
    assert_complete(output, photos)


@pytest.mark.slow
def test_shards_of_two_processes_share_an_object_store(photos: Path, tmp_path: Path) -> None:
    from s3fs import S3FileSystem

    fire_lily = save_fake_checkpoint(tmp_path / "fire lily.onnx", always(4))
    with running_object_store():
        store, prefix = S3FileSystem(), f"{BUCKET}/{tmp_path.name}"
        store.put(str(photos), f"{prefix}/photos", recursive=True)
        arguments = command(f"s3://{prefix}/photos", f"s3://{prefix}/out", fire_lily)
        processes = [started(*arguments, "--shard", f"{index}/2") for index in (0, 1)]
        for process in processes:
            _, error = process.communicate()
            assert process.returncode == 0, error.decode()
        store.get(f"{prefix}/out", str(tmp_path / "out"), recursive=True)
    assert_complete(tmp_path / "out", photos)


def test_the_results_of_another_model_are_refused(
    photos: Path, fire_lily: Path, tmp_path: Path, capsys: Output
) -> None:
    output = tmp_path / "out"
    other = save_fake_checkpoint(tmp_path / "other.safetensors", always(0))
    assert main(command(photos, output, fire_lily, "--shard", "0/12")) == 0
    with pytest.raises(SystemExit) as stop:
        main(command(photos, output, other))
    assert stop.value.code == 2
    assert "--output" in capsys.readouterr().err
    assert len(rows(output)) == PART_SIZE


@pytest.mark.parametrize(
    "wrong",
    [
        ["--shard", "4/4"],
        ["--shard", "1"],
        ["--shard", "-1/4"],
        ["--part-size", "0"],
        ["--shard", "0/0"],
        ["--output", "http://127.0.0.1/out"],
        ["--output", ""],
    ],
)
def test_wrong_usage_is_exit_code_2(photos: Path, tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(photos), "--output", str(tmp_path / "out"), *wrong])
    assert stop.value.code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["nowhere", "nowhere.txt", "nowhere://a"])
def test_a_source_without_photos_is_one_line_and_exit_code_1(
    source: str, fire_lily: Path, tmp_path: Path, capsys: Output
) -> None:
    path = source if "://" in source else str(tmp_path / source)
    assert main(command(path, tmp_path / "out", fire_lily)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Shard(0, 1)),
        ({"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "8"}, Shard(3, 8)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_MAX": "7",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            Shard(2, 4),
        ),
    ],
)
def test_the_scheduler_sets_the_shard(variables: dict[str, str], expected: Shard) -> None:
    assert shard_from_environment(variables) == expected


@pytest.mark.parametrize(
    "variables",
    [
        {"JOB_COMPLETION_INDEX": "3"},
        {"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "3"},
        {"SLURM_ARRAY_TASK_ID": "3"},
        {
            "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_ARRAY_TASK_COUNT": "four",
            "SLURM_ARRAY_TASK_MIN": "0",
            "SLURM_ARRAY_TASK_MAX": "3",
            "SLURM_ARRAY_TASK_STEP": "1",
        },
        {
            "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_ARRAY_TASK_COUNT": "4",
            "SLURM_ARRAY_TASK_MIN": "0",
            "SLURM_ARRAY_TASK_MAX": "3",
            "SLURM_ARRAY_TASK_STEP": "0",
        },
        {
            "SLURM_ARRAY_TASK_ID": "7",
            "SLURM_ARRAY_TASK_COUNT": "3",
            "SLURM_ARRAY_TASK_MIN": "1",
            "SLURM_ARRAY_TASK_MAX": "7",
            "SLURM_ARRAY_TASK_STEP": "1",
        },
    ],
)
def test_an_incomplete_schedule_is_exit_code_2(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path), "--output", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
