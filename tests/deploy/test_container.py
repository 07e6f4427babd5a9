"""The image, built and run by a Docker engine."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import time
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from model import BUNDLED_CHECKPOINT, BUNDLED_INT8
from model.bulk.storage import Location
from tests.app.conftest import encoded
from tests.conftest import ROOT
from tests.docker_engine import Engine, EngineError, base_image, running_engine
from tests.object_store import running_object_store
from tests.serving import TIMEOUT_SECONDS, begin_upload, free_port, read_json, read_response, until

pytestmark = [pytest.mark.docker, pytest.mark.slow]

IMAGE = "petalscope-test"
BULK = "petalscope-bulk-test"
PAGE = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
PHOTO = encoded()
MAX_IMAGE_BYTES = 400_000_000
SENDERS = 6
SCANS = 16
SCAN_BYTES = 60_000_000
# The tests are of memory, on a machine of any speed.
PATIENT = {"PETALSCOPE_REQUEST_TIMEOUT_SECONDS": "60"}


def documented_options() -> list[str]:
    """Return the limits of the documented `docker run`."""
    (options,) = re.findall(r"docker run (--read-only .*?) -p 8000:8000 \S+$", PAGE, re.M | re.S)
    return shlex.split(options.replace("\\\n", " "))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    try:
        with running_engine() as engine:
            yield engine
    except EngineError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run this test, but dockerd does not start: {error}")
        pytest.skip("dockerd does not start")


@pytest.fixture(scope="module")
def base(engine: Engine) -> Iterator[str]:
    with base_image(engine) as name:
        yield name


def build(engine: Engine, base: str, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = ("--network", "host", "--build-arg", f"BASE={base}", *options, ".")
    return engine.run("build", *arguments, check=False)


@pytest.fixture(scope="module")
def image(engine: Engine, base: str) -> Iterator[str]:
    done = build(engine, base, "--build-arg", "DEVICE=cpu", "--tag", IMAGE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield IMAGE
    engine.run("rmi", "--force", IMAGE)


@pytest.fixture(scope="module")
def bulk_image(engine: Engine, base: str) -> Iterator[str]:
    done = build(
        engine, base, "--build-arg", "DEVICE=cpu", "--build-arg", "BULK=true", "--tag", BULK
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield BULK
    engine.run("rmi", "--force", BULK)


@dataclass(frozen=True)
class Container:
    """A running container of the image, in the machine's network."""

    engine: Engine
    name: str
    port: int

    def send(
        self, body: bytes, content_type: str = "image/*", timeout: float = TIMEOUT_SECONDS
    ) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with closing(connection):
            connection.request("POST", "/predict", body, {"Content-Type": content_type})
            return read_json(connection.getresponse())

    def assert_names_a_photo(self) -> None:
        status, result = self.send(PHOTO)
        assert status == 200
        assert len(result["predictions"]) == 5

    @property
    def state(self) -> dict[str, Any]:
        state = self.engine.inspect(self.name)["State"]
        assert isinstance(state, dict)
        return state

    @property
    def log(self) -> str:
        return self.engine.run("logs", self.name).stdout

    @property
    def start(self) -> dict[str, Any]:
        """The log line of the start."""
        lines = map(json.loads, self.log.splitlines())
        return next(line for line in lines if line["message"] == "started")

    @property
    def workers(self) -> list[int]:
        """Process IDs of the children of gunicorn's master."""
        children = Path(f"/proc/{self.state['Pid']}/task/{self.state['Pid']}/children")
        return [int(pid) for pid in children.read_text().split()]


@contextmanager
def running(engine: Engine, image: str, *options: str, **settings: str) -> Iterator[Container]:
    """Run the image as a random user until the block ends; wait until it is healthy."""
    port = free_port()
    settings = {"PETALSCOPE_HOST": "127.0.0.1", "PETALSCOPE_PORT": str(port), **settings}
    variables = [f"--env={name}={value}" for name, value in settings.items()]
    name = f"{image}-{port}"
    engine.run(
        *("run", "--detach", "--name", name, "--network", "host", "--user", "54321:54321"),
        *("--health-interval", "1s", *options, *variables, image),
    )
    container = Container(engine, name, port)
    try:
        until(lambda: container.state["Health"]["Status"] == "healthy" or not is_up(container))
        assert is_up(container), container.log
        yield container
    finally:
        engine.run("rm", "--force", "--volumes", name)


def is_up(container: Container) -> bool:
    return bool(container.state["Running"])


@pytest.fixture(scope="module")
def documented(engine: Engine, image: str) -> Iterator[Container]:
    with running(engine, image, *documented_options(), **PATIENT) as container:
        yield container


def test_the_image_has_only_what_it_needs(engine: Engine, image: str) -> None:
    size = engine.inspect(image)["Size"]
    print(f"{size / 1e6:.0f} MB")
    assert size < MAX_IMAGE_BYTES
    variables = engine.inspect(image)["Config"]["Env"]
    assert not [variable for variable in variables if variable.startswith("NVIDIA")]
    code = (
        "import importlib.util as util, os;"
        "names = ('pip', 'setuptools', 'ensurepip', 'torch', 'pyarrow', 'scripts');"
        "print([name for name in names if util.find_spec(name)], sorted(os.listdir('checkpoints')))"
    )
    listed = engine.run("run", "--rm", "--network=none", image, "python", "-c", code).stdout
    assert listed == f"[] {sorted(['README.md', BUNDLED_INT8.name])}\n"


def test_the_build_context_has_only_what_is_copied(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /context/\n")
    tag = f"{IMAGE}-context"
    engine.run("build", "--file", tmp_path / "Dockerfile", "--tag", tag, ".")
    try:
        container = engine.run("create", tag, "none").stdout.strip()
        engine.run("cp", f"{container}:/context", tmp_path)
        engine.run("rm", container)
    finally:
        engine.run("rmi", "--force", tag)
    context = tmp_path / "context"
    sent = {path.relative_to(context) for path in context.rglob("*") if path.is_file()}
    lines = re.findall(r"^COPY ([^-\n].*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = {Path(source) for line in lines for source in line.split()[:-1]}
    used = {next((part for part in (path, *path.parents) if part in copied), path) for path in sent}
    assert used == copied
    unwanted = [path for path in sent if path.name.startswith(".") or path.suffix == ".pyc"]
    assert unwanted == []


@pytest.mark.parametrize(
    ("argument", "fragment"), [("DEVICE=gpu", "cpu or cuda"), ("BULK=yes", "true or false")]
)
def test_a_wrong_argument_stops_the_build_with_a_sentence(
    engine: Engine, base: str, argument: str, fragment: str
) -> None:
    done = build(engine, base, "--build-arg", argument)
    assert done.returncode != 0
    assert f"must be {fragment}" in done.stdout + done.stderr


def test_any_user_can_run_it_read_only_with_the_documented_limits(documented: Container) -> None:
    documented.assert_names_a_photo()
    assert documented.start["device"] == "cpu"
    assert documented.start["max_megapixels"] == 64
    assert [json.loads(line)["level"] for line in documented.log.splitlines()].count("warning") == 0


def test_a_photo_of_64_megapixels_fits_into_the_documented_memory(documented: Container) -> None:
    (worker,) = documented.workers
    photo = saved(clear_image((8000, 8000)), "PNG", compress_level=1)
    assert documented.send(photo)[0] == 200
    assert documented.workers == [worker]


def test_a_killed_worker_is_replaced(documented: Container) -> None:
    (worker,) = documented.workers
    os.kill(worker, signal.SIGKILL)
    until(lambda: documented.workers not in ([], [worker]))
    until(lambda: answers(documented))
    documented.assert_names_a_photo()
    assert is_up(documented)


def answers(container: Container) -> bool:
    try:
        return container.send(PHOTO, timeout=5)[0] == 200
    except OSError:
        return False


def test_docker_stop_answers_uploads_in_progress(engine: Engine, image: str) -> None:
    # A checkpoint of one's own, mounted as documented.
    mount = ("--volume", f"{BUNDLED_INT8}:/mine.onnx:ro")
    with (
        running(engine, image, *mount, PETALSCOPE_CHECKPOINT="/mine.onnx") as container,
        closing(begin_upload(container.port, len(PHOTO))) as slow,
        closing(begin_upload(container.port, 1_000_000)) as endless,
        ThreadPoolExecutor(1) as thread,
    ):
        assert container.start["checkpoint"] == "mine.onnx"
        stopped = thread.submit(engine.run, "stop", container.name)
        endless.sendall(PHOTO[:1000])
        for part in range(4):
            time.sleep(0.7)
            slow.sendall(PHOTO[part * len(PHOTO) // 4 : (part + 1) * len(PHOTO) // 4])
        assert read_response(slow)[0] == 200
        status, problem = read_response(endless)
        assert (status, problem["code"]) == (503, "shutting_down")
        stopped.result()
        assert container.state["ExitCode"] == 0  # Docker did not kill it after 10 s


def clear_image(size: tuple[int, int]) -> Image.Image:
    """Draw an image with transparency."""
    return Image.merge("RGBA", 4 * [Image.linear_gradient("L").resize(size)])


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def padded_png(size: tuple[int, int], length: int) -> bytes:
    """Return a PNG with transparency of `length` bytes; a chunk that no decoder reads fills it."""
    data = saved(clear_image(size), "PNG", compress_level=1)
    body = b"prVt" + bytes(length - len(data) - 12)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def worst_photos(megapixels: int, body_bytes: int) -> list[tuple[bytes, str]]:
    """Return the bodies, with their types, that take the most memory within the limits."""
    size = (1000 * megapixels, 1000)
    small = padded_png((1000, 1000), (body_bytes - 100) // 4 * 3)
    return [
        (saved(clear_image(size), "WEBP", lossless=True, quality=0), "image/webp"),
        (saved(clear_image((1000, 1000)), "WEBP", lossless=True, quality=0), "image/webp"),
        (padded_png(size, body_bytes), "image/png"),
        (b'{"image": "%s"}' % b64encode(small), "application/json"),
        (saved(clear_image(size).convert("RGB"), "JPEG", progressive=True), "image/jpeg"),
    ]


def test_the_worst_photos_fit_into_512_megabytes(engine: Engine, image: str) -> None:
    options = ("--memory", "512m", "--memory-swap", "512m", "--cpus", "1", "--read-only")
    with running(engine, image, *options, **PATIENT) as container:
        assert container.start["threads"] == 1
        assert container.start["memory_mib"] == 512
        (worker,) = container.workers
        limits = container.start
        worst = worst_photos(limits["max_megapixels"], limits["max_body_mib"] * 1024 * 1024)
        counted: Counter[int] = Counter()

        def send(body: tuple[bytes, str]) -> int:
            """Send a photo until there is a free slot."""
            while (status := container.send(*body)[0]) == 429:
                counted[status] += 1
                time.sleep(0.2)
            return status

        with ThreadPoolExecutor(SENDERS) as senders:
            statuses = list(senders.map(send, [*worst, *worst, *worst]))
        print(f"{len(statuses)} photos, {counted[429]} retries; limits {limits}")
        assert statuses == [200] * len(statuses)
        assert container.workers == [worker]
        assert container.state["OOMKilled"] is False
        container.assert_names_a_photo()


@pytest.mark.parametrize(
    ("mounted", "settings", "fragment"),
    [
        (None, {"PETALSCOPE_PROT": "80"}, "PETALSCOPE_PORT"),
        (None, {"PETALSCOPE_DEVICE": "cuda"}, "DEVICE=cuda"),
        (None, {"PETALSCOPE_CHECKPOINT": "/mine.onnx"}, "There is no checkpoint at /mine.onnx"),
        ("missing.onnx", {"PETALSCOPE_CHECKPOINT": "/mine.onnx"}, "/mine.onnx is a folder"),
        (
            BUNDLED_CHECKPOINT,
            {"PETALSCOPE_CHECKPOINT": "/mine.safetensors"},
            "scripts/export.py",
        ),
    ],
)
def test_a_wrong_setting_ends_the_container_with_one_sentence(
    engine: Engine,
    image: str,
    tmp_path: Path,
    mounted: str | Path | None,
    settings: dict[str, str],
    fragment: str,
) -> None:
    variables = [f"--env={name}={value}" for name, value in settings.items()]
    if mounted is not None:
        target = settings["PETALSCOPE_CHECKPOINT"]
        variables += ["--volume", f"{tmp_path / mounted}:{target}:ro"]
    done = engine.run("run", "--rm", "--network=none", *variables, image, check=False)
    assert done.returncode not in (0, 125)  # 125: the engine failed
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("petalscope: ")]
    assert fragment in line


def bulk_job() -> dict[str, Any]:
    """Return the container of the Kubernetes job."""
    job = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "bulk" / "job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@contextmanager
def running_bulk(
    engine: Engine, image: str, arguments: Sequence[str], *options: str
) -> Iterator[str]:
    """Start the command of the Kubernetes job within its limits; yield the container's name."""
    job = bulk_job()
    memory = job["resources"]["limits"]["memory"].replace("Gi", "g")
    name = f"{image}-{free_port()}"
    engine.run(
        *("run", "--detach", "--name", name, "--network", "host", "--user", "54321:54321"),
        *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--memory", memory, "--memory-swap", memory, *options, image),
        *(*job["command"], *arguments),
    )
    try:
        yield name
    finally:
        engine.run("rm", "--force", "--volumes", name)


@contextmanager
def running_on_folders(
    engine: Engine, image: str, folder: Path, source: str, *arguments: str
) -> Iterator[str]:
    """Start a bulk job on `folder`/photos whose results go to `folder`/results."""
    results = folder / "results"
    results.mkdir()
    results.chmod(0o777)
    mounts = ("--volume", f"{folder}/photos:/photos:ro", "--volume", f"{results}:/results")
    command = (source, "--output", "/results", *arguments)
    with running_bulk(engine, image, command, *mounts) as name:
        yield name


def assert_succeeds(engine: Engine, name: str) -> None:
    code = engine.run("wait", name).stdout.strip()
    assert code == "0", engine.run("logs", name).stderr
    assert engine.inspect(name)["State"]["OOMKilled"] is False


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def test_a_bulk_job_survives_the_largest_photos_within_the_limits_of_its_pod(
    engine: Engine, bulk_image: str, photos: Path, tmp_path: Path
) -> None:
    large = saved(clear_image((8000, 8000)), "WEBP", lossless=True, quality=0)
    scan = padded_png((1000, 1000), SCAN_BYTES)
    for number in range(4):
        (photos / f"{number}.webp").write_bytes(large)
        (photos / f"{number}.jpg").write_bytes(PHOTO)
    (photos / "scan.png").write_bytes(scan)
    for number in range(1, SCANS):
        (photos / f"scan-{number}.png").hardlink_to(photos / "scan.png")
    (photos / "damaged.png").write_bytes(b"no photo")
    with running_on_folders(engine, bulk_image, tmp_path, "/photos", "--part-size", "8") as name:
        assert_succeeds(engine, name)
    rows = pq.read_table(tmp_path / "results").to_pylist()
    assert sorted(row["path"] for row in rows) == sorted(path.name for path in photos.iterdir())
    assert [row["path"] for row in rows if row["error"]] == ["damaged.png"]


def test_a_bulk_job_reads_and_writes_an_object_store(engine: Engine, bulk_image: str) -> None:
    source, option, output = bulk_job()["args"]
    assert option == "--output"
    with running_object_store() as variables:
        Location.parse(f"{source}/a.jpg").write(PHOTO)
        environment = [f"--env={name}={value}" for name, value in variables.items()]
        with running_bulk(engine, bulk_image, (source, option, output), *environment) as name:
            assert_succeeds(engine, name)
        part = (Location.parse(output) / "part-000000.parquet").read()
    (row,) = pq.read_table(io.BytesIO(part)).to_pylist()
    assert (row["path"], row["error"]) == ("a.jpg", None)


def test_a_bulk_job_ends_as_soon_as_it_is_stopped(
    engine: Engine, bulk_image: str, photos: Path, tmp_path: Path
) -> None:
    (photos / "a.jpg").write_bytes(PHOTO)
    (photos / "list.txt").write_text("a.jpg\n" * 100_000)
    with running_on_folders(engine, bulk_image, tmp_path, "/photos/list.txt") as name:
        until(lambda: (tmp_path / "results" / "part-000000.parquet").exists())
        engine.run("stop", name)
        assert engine.inspect(name)["State"]["ExitCode"] == 128 + signal.SIGTERM
