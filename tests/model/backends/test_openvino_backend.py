"""The OpenVINO backend, compared with PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest

from model import BUNDLED_CHECKPOINT, BUNDLED_INT8, bundled_checkpoint
from model.backbones import build_network, data_transform
from model.backends.base import DeviceError, Pixels
from model.backends.onnx_export import export
from model.backends.openvino_backend import OpenVinoBackend
from model.checkpoint.format import load_checkpoint, read_metadata
from model.checkpoint.metadata import (
    Architecture,
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointVersionError,
    Metadata,
    MismatchedClassesError,
    NotACheckpointError,
)
from model.classifier import Classifier
from model.evaluation.datasets import labelled_photos
from model.ood import OodRule
from tests.conftest import ROOT, TINY_CLASSES, flower_image
from tests.fake_checkpoint import always, save_fake_checkpoint

IMAGES = [flower_image((200 + 20 * seed, 180), seed) for seed in range(5)]


def batch_of(classifier: Classifier) -> Pixels:
    return np.stack([classifier.preprocess(image) for image in IMAGES])


def threads_of_this_process() -> list[int]:
    return [int(folder.name) for folder in Path("/proc/self/task").iterdir()]


@pytest.mark.slow
def test_logits_and_maps_match_pytorch(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    reference, served = Classifier.load(tiny_checkpoint, "cpu"), Classifier.load(tiny_onnx)
    assert served.metadata == reference.metadata
    assert served.network.device == "cpu"
    batch = batch_of(reference)
    expected, got = reference.network.run(batch), served.network.run(batch)
    np.testing.assert_allclose(got.logits, expected.logits, rtol=1e-3, atol=1e-4)
    assert expected.activations is not None
    assert got.activations is not None
    np.testing.assert_allclose(got.activations, expected.activations, rtol=1e-3, atol=1e-3)


def test_logits_survive_the_next_call(tiny_onnx: Path) -> None:
    classifier = Classifier.load(tiny_onnx)
    first, second = batch_of(classifier)[:2]
    logits = classifier.logits(first[None])
    before = logits.copy()
    classifier.logits(second[None])
    np.testing.assert_array_equal(logits, before)


@pytest.mark.slow
def test_parallel_photos_have_the_same_outputs_as_single_ones(tiny_onnx: Path) -> None:
    network = Classifier.load(tiny_onnx, threads=2).network
    assert network.max_batch_size == 8
    assert list(network.batch_sizes(16)) == [1, 2]
    assert list(network.batch_sizes(1)) == [1]
    batch = batch_of(Classifier.load(tiny_onnx))
    together = network.run(batch)
    for index, image in enumerate(batch):
        alone = network.run(image[None])
        np.testing.assert_array_equal(together.logits[index], alone.logits[0])
        assert together.activations is not None
        assert alone.activations is not None
        np.testing.assert_array_equal(together.activations[index], alone.activations[0])


@pytest.mark.slow
def test_batches_of_any_size_have_the_outputs_of_single_photos(tiny_onnx: Path) -> None:
    classifier = Classifier.load(tiny_onnx, threads=2)
    photos = batch_of(classifier)
    expected = [classifier.logits(photo[None])[0] for photo in photos]
    # More than the requests, fewer, and more again.
    for size in (41, 3, 8, 2, 11):
        turns = [(size + index) % len(photos) for index in range(size)]
        for batch in (photos[turns], [photos[turn] for turn in turns]):
            got = [output.logits for output in classifier.outputs(batch)]
            np.testing.assert_array_equal(got, [expected[turn] for turn in turns])


def test_a_failed_batch_does_not_affect_the_next_one(tiny_onnx: Path) -> None:
    network = Classifier.load(tiny_onnx, threads=2).network
    photos = batch_of(Classifier.load(tiny_onnx))
    expected = network.run(photos).logits
    # The last input has a wrong size, so the others run when it fails.
    with pytest.raises(RuntimeError):
        network.run([*photos[:3], photos[0][:-1]])
    np.testing.assert_array_equal(network.run(photos).logits, expected)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs sched_getaffinity of a thread")
def test_no_thread_is_bound_to_a_core() -> None:
    network = Classifier.load(BUNDLED_INT8, threads=2).network
    side = read_metadata(BUNDLED_CHECKPOINT).transform.crop
    photos = np.zeros((8, side, side, 3), np.uint8)
    allowed = os.sched_getaffinity(0)
    for size in (8, 1):
        for _ in range(3):
            with ThreadPoolExecutor(1) as runner:
                done = runner.submit(network.run, photos[:size])
                while not done.done():
                    for thread in threads_of_this_process():
                        with suppress(ProcessLookupError):  # it has ended
                            assert os.sched_getaffinity(thread) == allowed


def test_one_thread_runs_photos_one_by_one(tiny_onnx: Path) -> None:
    classifier = Classifier.load(tiny_onnx, threads=1)
    assert classifier.network.max_batch_size == 1
    batch = batch_of(classifier)
    alone = [classifier.logits(image[None])[0] for image in batch]
    np.testing.assert_array_equal(classifier.logits(batch), alone)


@pytest.mark.slow
def test_eight_threads_get_the_same_logits_as_one(tiny_onnx: Path) -> None:
    classifier = Classifier.load(tiny_onnx)
    batch = batch_of(classifier)
    expected = classifier.logits(batch)
    turns = [index % len(batch) for index in range(64)]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda index: classifier.logits(batch[index][None])[0], turns))
        batches = list(pool.map(lambda index: classifier.logits(batch[turns[index:]]), turns))
    np.testing.assert_allclose(rows, expected[turns], atol=1e-5)
    for index, logits in zip(turns, batches, strict=True):
        np.testing.assert_allclose(logits, expected[turns[index:]], atol=1e-5)


@pytest.mark.slow
def test_a_network_without_maps_is_exported_without_them(tmp_path: Path) -> None:
    architecture = Architecture("test_efficientnet", len(TINY_CLASSES), (8,))
    network = build_network(architecture).eval()
    metadata = Metadata(architecture, TINY_CLASSES, data_transform(network))
    export(network, metadata, tmp_path / "m.onnx")
    classifier = Classifier.load(tmp_path / "m.onnx")
    outputs = classifier.network.run(batch_of(classifier))
    assert outputs.logits.shape == (len(IMAGES), len(TINY_CLASSES))
    assert outputs.activations is None


@pytest.mark.slow
def test_the_file_accepts_any_batch_size(tiny_onnx: Path) -> None:
    import openvino  # its import sends telemetry unless openvino_backend is imported first

    classifier = Classifier.load(tiny_onnx)
    batch = batch_of(classifier)
    compiled = openvino.Core().compile_model(
        str(tiny_onnx), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for size in (1, 3):
        logits = compiled({"images": batch[:size]})["logits"]
        np.testing.assert_allclose(logits, classifier.logits(batch[:size]), atol=1e-4)


@pytest.mark.slow
def test_only_the_batch_dimension_is_dynamic(tiny_onnx: Path) -> None:
    graph = onnx.load(str(tiny_onnx)).graph
    shapes = {
        item.name: [dim.dim_param or dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in (*graph.input, *graph.output)
    }
    classifier = Classifier.load(tiny_onnx)
    outputs = classifier.network.run(batch := batch_of(classifier))
    assert outputs.activations is not None
    assert shapes == {
        "images": ["n", *batch.shape[1:]],
        "logits": ["n", *outputs.logits.shape[1:]],
        "activations": ["n", *outputs.activations.shape[1:]],
    }


def test_the_number_of_threads_can_be_set(tiny_onnx: Path) -> None:
    network = Classifier.load(tiny_onnx, "cpu", threads=1).network
    assert isinstance(network, OpenVinoBackend)
    assert network.threads == 1


NICENESS = """
import os, sys
import numpy as np
from pathlib import Path
from model.classifier import Classifier
classifier = Classifier.load(Path(sys.argv[1]), threads=2, nice=int(sys.argv[2]))
side = classifier.metadata.transform.crop
classifier.logits(np.zeros((4, side, side, 3), dtype=np.uint8))
own = os.getpriority(os.PRIO_PROCESS, os.getpid())
for thread in os.listdir("/proc/self/task"):
    print(os.getpriority(os.PRIO_PROCESS, int(thread)) - own)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a nice value per thread")
@pytest.mark.parametrize("nice", [0, 3])
def test_the_nice_value_applies_to_the_inference_threads_only(tiny_onnx: Path, nice: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", NICENESS, str(tiny_onnx), str(nice)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    threads = [int(line) for line in result.stdout.split()]
    # The other threads keep their nice value.
    assert threads.count(0) >= 1, result.stderr
    assert threads.count(nice) >= 2
    assert set(threads) == {0, nice}


def test_inference_works_if_nice_values_are_forbidden(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.setpriority", forbidden)
    classifier = Classifier.load(tiny_onnx, nice=5)
    assert classifier.logits(batch_of(classifier)).shape == (5, len(TINY_CLASSES))


@pytest.mark.slow
def test_all_metadata_are_exported(tmp_path: Path) -> None:
    rule = OodRule("contrast", 4.5)
    path = save_fake_checkpoint(
        tmp_path / "r.safetensors", always(2), temperature=0.4, ood_rule=rule
    )
    export(*load_checkpoint(path), tmp_path / "r.onnx")
    metadata = Classifier.load(tmp_path / "r.onnx").metadata
    assert metadata == Classifier.load(path, "cpu").metadata
    assert metadata.ood_rule == rule


@pytest.mark.parametrize(
    "what", ["missing", "folder", "text", "empty", "truncated", "foreign", "version", "output"]
)
def test_an_unusable_file_is_an_error(tiny_onnx: Path, tmp_path: Path, what: str) -> None:
    path = tmp_path / "bad.onnx"
    kind: type[CheckpointError] = NotACheckpointError
    model = onnx.load(str(tiny_onnx))
    (entry,) = model.metadata_props
    if what == "missing":
        kind = CheckpointNotFoundError
    elif what == "folder":
        kind = CheckpointNotFoundError
        path.mkdir()
    elif what == "empty":
        path.touch()
    elif what == "output":
        model.graph.output[0].name = "something else"
        onnx.save(model, str(path))
    elif what == "text":
        path.write_text("no model")
    elif what == "truncated":
        path.write_bytes(tiny_onnx.read_bytes()[:9000])
    elif what == "foreign":
        del model.metadata_props[:]
        onnx.save(model, str(path))
    else:
        kind = CheckpointVersionError
        entry.value = entry.value.replace('"format_version": 2', '"format_version": 99')
        onnx.save(model, str(path))
    with pytest.raises(kind) as caught:
        Classifier.load(path)
    assert str(path) in str(caught.value)


def test_a_truncated_file_is_an_error(tiny_onnx: Path, tmp_path: Path) -> None:
    content = tiny_onnx.read_bytes()
    path = tmp_path / "cut.onnx"
    for share in range(1, 20):
        path.write_bytes(content[: len(content) * share // 20])
        with pytest.raises(NotACheckpointError):
            Classifier.load(path)
    path.write_bytes(content[:-1])
    with pytest.raises(NotACheckpointError):
        Classifier.load(path)


@pytest.mark.parametrize("text", [b"Conv", b'"temperature"'])
def test_text_that_is_not_utf_8_is_a_checkpoint_error(
    tiny_onnx: Path, tmp_path: Path, text: bytes
) -> None:
    path = tmp_path / "bytes.onnx"
    path.write_bytes(tiny_onnx.read_bytes().replace(text, b"\xff" * len(text)))
    with pytest.raises(NotACheckpointError):
        Classifier.load(path)


def test_an_unknown_operator_is_a_checkpoint_error(tiny_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(str(tiny_onnx))
    model.graph.node[0].op_type = "Bogus"
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(CheckpointError):
        Classifier.load(tmp_path / "m.onnx")


def test_a_class_list_of_another_length_is_an_error(tiny_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(str(tiny_onnx))
    (entry,) = model.metadata_props
    values = json.loads(entry.value)
    values["classes"].pop()
    values["architecture"]["num_classes"] -= 1
    del values["reference"]
    entry.value = json.dumps(values)
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(MismatchedClassesError):
        Classifier.load(tmp_path / "m.onnx")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tpu"])
def test_any_other_device_than_the_cpu_is_refused(tiny_onnx: Path, device: str) -> None:
    with pytest.raises(DeviceError, match=device):
        Classifier.load(tiny_onnx, device)


LOADING = """
import sys
network = []
sys.addaudithook(lambda event, _: network.append(event) if event.startswith("socket.") else None)
from pathlib import Path
from model.classifier import Classifier
Classifier.load(Path(sys.argv[1]))
print(network)
"""


@pytest.mark.slow
def test_loading_opens_no_connection_and_writes_nothing_to_the_home_folder(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", LOADING, str(tiny_onnx)],
        cwd=ROOT,
        env={"HOME": str(tmp_path)},  # without CI, where OpenVINO sends no telemetry anyway
        capture_output=True,
        text=True,
    )
    assert result.stdout == "[]\n", result.stderr
    assert list(tmp_path.iterdir()) == []


WITHOUT = """
import sys
for name in ("torch", "torchvision", "timm", "safetensors", "onnx", "onnxruntime", "nncf",
             "matplotlib", "scipy"):
    sys.modules[name] = None  # makes its import fail
from app import create_app
from app.settings import Settings
settings = dict(setting.split("=") for setting in sys.argv[2:])
client = create_app(Settings.from_environment(settings)).test_client()
photo = open(sys.argv[1], "rb").read()
response = client.post("/predict?explain=1", data=photo, content_type="image/png")
print(response.status_code, response.get_json()["model"]["checkpoint"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["default", "tiny"])
def test_the_service_runs_without_the_training_packages(
    tiny_onnx: Path, tmp_path: Path, checkpoint: str
) -> None:
    photo = tmp_path / "photo.png"
    flower_image().save(photo)
    chosen = [f"PETALSCOPE_CHECKPOINT={tiny_onnx}"] if checkpoint == "tiny" else []
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(photo), "PETALSCOPE_LOG_LEVEL=warning", *chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    served = tiny_onnx.name if chosen else BUNDLED_INT8.name
    assert result.stdout == f"200 {served}\n", result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "device", "error", "fragment"),
    [
        (BUNDLED_CHECKPOINT, "auto", "MissingPyTorchError", "scripts/export.py"),
        (Path("/nowhere/mine.safetensors"), "auto", "CheckpointNotFoundError", "/nowhere/mine"),
        (BUNDLED_CHECKPOINT, "cuda", "DeviceError", "DEVICE=cuda"),
    ],
)
def test_the_error_without_pytorch_names_the_cause(
    path: Path, device: str, error: str, fragment: str
) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from model.classifier import Classifier\n"
        f"Classifier.load(Path({str(path)!r}), {device!r})"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    last = result.stderr.splitlines()[-1]
    assert error in last
    assert fragment in last


@pytest.mark.parametrize(
    ("device", "gpu", "suffix"),
    [
        ("auto", False, ".onnx"),
        ("auto", True, ".safetensors"),
        ("cpu", True, ".onnx"),
        ("cuda:1", False, ".safetensors"),
    ],
)
def test_the_bundled_checkpoint_depends_on_the_device(
    device: str, gpu: bool, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    path = bundled_checkpoint(device)
    assert path.suffix == suffix
    assert path.is_file()


@pytest.mark.slow
@pytest.mark.data
def test_the_exported_bundled_checkpoint_agrees_on_real_photos(
    data_dir: Path, bundled_float32: Path
) -> None:
    reference = Classifier.load(BUNDLED_CHECKPOINT, "cpu")
    served = Classifier.load(bundled_float32)
    assert served.metadata == reference.metadata
    photos = labelled_photos(reference, data_dir / "valid")
    batch = np.stack([photos[index][0].numpy() for index in range(0, len(photos), 33)])
    np.testing.assert_allclose(
        served.probabilities(batch), reference.probabilities(batch), rtol=0, atol=1e-3
    )
