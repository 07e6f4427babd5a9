"""The Slurm scripts on a real cluster of two nodes."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.checkpoint.format import read_metadata
from tests.conftest import ROOT
from tests.deploy.slurm_cluster import SlurmCluster, running_slurm
from tests.serving import until

TASKS = 4
KILLED = 2  # index of a task
PART_SIZE = 20
JOB_SECONDS = 300
EPOCHS = 6  # of about a second

pytestmark = [pytest.mark.slow, pytest.mark.slurm]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with running_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def submit(cluster: SlurmCluster, *command: str) -> str:
    """Submit a script in the environment of the tests and return the number of the job."""
    folder = Path(sys.executable).parent
    path = f"{folder}:{os.environ['PATH']}"
    log = cluster.folder / "%x-%A_%a.log"
    return cluster.run(
        "sbatch",
        "--parsable",
        f"--export=ALL,PATH={path}",
        f"--output={log}",
        "--cpus-per-task=1",
        "--mem=0",
        *command,
        cwd=ROOT,
    )


def logs(cluster: SlurmCluster) -> str:
    return "\n".join(path.read_text() for path in cluster.folder.glob("petalscope-*.log"))


def python_process(job: str, index: int) -> int:
    """Return the process ID of a running array task."""
    wanted = {f"SLURM_ARRAY_JOB_ID={job}".encode(), f"SLURM_ARRAY_TASK_ID={index}".encode()}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = set((folder / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        if wanted <= variables:
            return int(folder.name)
    raise AssertionError(f"task {index} of job {job} has no process")


@pytest.mark.data
def test_a_killed_and_requeued_task_of_an_array_counts_every_photo_once(
    cluster: SlurmCluster, data_dir: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    photos, output = data_dir / "valid", tmp_path / "results"
    job = submit(
        cluster,
        f"--array=0-{TASKS - 1}",
        "deploy/slurm/classify_many.sh",
        *(str(photos), "--output", str(output), "--checkpoint", str(tiny_onnx)),
        *("--part-size", str(PART_SIZE)),
    )
    task = f"{job}_{KILLED}"
    until(lambda: (output / f"part-{KILLED:06}.parquet").exists())
    os.kill(python_process(job, KILLED), signal.SIGKILL)
    until(lambda: cluster.states(job)[task] == "FAILED")
    cluster.run("scontrol", "requeue", task)
    until(lambda: set(cluster.states(job).values()) == {"COMPLETED"}, JOB_SECONDS)
    print(logs(cluster))

    counted = Counter(pq.read_table(output)["path"].to_pylist())
    expected = {path.relative_to(photos).as_posix() for path in photos.rglob("*") if path.is_file()}
    assert set(counted) == expected
    assert set(counted.values()) == {1}


def submit_training(cluster: SlurmCluster, *arguments: str) -> str:
    return submit(cluster, "--nodes=2", "deploy/slurm/train.sh", *arguments)


def training_arguments(photos: Path, output: Path) -> list[str]:
    return [
        *("--data", str(photos), "--output", str(output), "--epochs", str(EPOCHS)),
        *("--backbone", "test_efficientnet", "--from-scratch", "--image-size", "64"),
        *("--batch-size", "8", "--workers", "0", "--device", "cpu"),
    ]


def wait_for_end(cluster: SlurmCluster, job: str) -> str:
    """Wait until a job has ended, and return its state."""
    active = ("PENDING", "RUNNING", "COMPLETING")
    try:
        until(lambda: cluster.states(job)[job] not in active, JOB_SECONDS)
    finally:
        print(logs(cluster))
    return cluster.states(job)[job]


def epochs_done(output: Path) -> int:
    history = output / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def test_training_on_two_nodes_is_stopped_by_a_signal_and_resumed(
    cluster: SlurmCluster, flower_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    job = submit_training(cluster, *training_arguments(flower_folder, output))
    until(lambda: epochs_done(output) >= 1, JOB_SECONDS)
    # Slurm sends the signal of #SBATCH --signal in the same way.
    cluster.run("scancel", "--signal=TERM", job)
    assert wait_for_end(cluster, job) == "FAILED"  # the training is not complete
    assert "× 2" in logs(cluster)  # processes
    assert epochs_done(output) < EPOCHS
    assert list(output.glob("state-*"))

    job = submit_training(cluster, "--resume", str(output))
    assert wait_for_end(cluster, job) == "COMPLETED"
    assert epochs_done(output) == EPOCHS
    assert read_metadata(output / "checkpoint.safetensors").architecture.num_classes == 6
