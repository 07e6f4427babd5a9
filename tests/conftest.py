"""Fixtures and markers shared by all tests: generated photos, a tiny checkpoint.

The functions import PyTorch, because the process that distributes the tests does not need it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.checkpoint.labels import FlowerClass
from tests.postgresql_server import find_postgresql

ROOT = Path(__file__).parent.parent
# Folders sort as text, so "2" comes after "100".
TINY_CLASSES = (
    FlowerClass("1", "pink primrose"),
    FlowerClass("10", "globe thistle"),
    FlowerClass("100", "blanket flower"),
    FlowerClass("2", "hard-leaved pocket orchid"),
    FlowerClass("21", "fire lily"),
    FlowerClass("5", "english marigold"),
)
_MARKERS = (
    "data", "browser", "firefox", "redis", "nginx", "docker", "postgresql", "wrk", "slurm", "cuda",
)  # fmt: skip


def _missing(marker: str) -> str | None:
    if marker == "data" and not os.environ.get("PETALSCOPE_DATA"):
        return "set PETALSCOPE_DATA to the folder that holds train/, valid/ and cat_to_name.json"
    if marker == "browser" and not shutil.which("chromium"):
        return "install Chromium"
    if marker == "redis" and not shutil.which("redis-server"):
        return "install redis-server"
    if marker == "nginx" and not shutil.which("nginx"):
        return "install nginx"
    if marker == "wrk" and not shutil.which("wrk"):
        return "install wrk"
    if marker == "slurm" and not (shutil.which("slurmctld") and shutil.which("slurmd")):
        return "install slurm-wlm"
    if marker == "postgresql" and find_postgresql() is None:
        return "install PostgreSQL's server"
    if marker == "firefox":
        from tests.browsers import find_firefox  # which imports Playwright

        return None if find_firefox() else "install Firefox"
    if marker == "docker":
        from tests.docker_engine import missing_engine  # which imports this module

        return missing_engine()
    if marker == "cuda":
        import torch

        if not torch.cuda.is_available():
            return "needs an NVIDIA GPU"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose tool or data is missing; fail it in CI, where only a GPU may be missing."""
    for marker in _MARKERS:
        if item.get_closest_marker(marker) and (reason := _missing(marker)):
            if os.environ.get("CI") and marker != "cuda":
                pytest.fail(f"CI must run this test: {reason}", pytrace=False)
            pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Run PyTorch on one thread: tiny networks gain nothing from more, and rounding is the same."""
    import torch

    torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Write a test's log lines while its output is still captured."""
    try:
        return (yield)
    finally:
        for handler in logging.getLogger("app").handlers:
            handler.flush()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the data folder with train/, valid/ and cat_to_name.json, for tests marked `data`."""
    return Path(os.environ["PETALSCOPE_DATA"]).resolve()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a checkpoint of timm's smallest network with random weights and six classes."""
    import torch

    from model.backbones import build_network, data_transform
    from model.checkpoint.format import save_checkpoint
    from model.checkpoint.metadata import Architecture, Metadata

    torch.manual_seed(0)
    architecture = Architecture("test_efficientnet", len(TINY_CLASSES))
    network = build_network(architecture)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    metadata = Metadata(architecture, TINY_CLASSES, data_transform(network), temperature=0.5)
    save_checkpoint(path, network.state_dict(), metadata)
    return path


@pytest.fixture(scope="session")
def tiny_onnx(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the tiny checkpoint. A process serves it without importing PyTorch for seconds."""
    from model.backends.onnx_export import export
    from model.checkpoint.format import load_checkpoint

    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    export(*load_checkpoint(tiny_checkpoint), path)
    return path


def flower_image(size: tuple[int, int] = (400, 300), seed: int = 0) -> Image.Image:
    """Draw an RGB image with smooth colors, which lossy formats change little."""
    waves = np.random.default_rng(seed).uniform(1, 4, size=(3, 2))
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / np.array([[[size[1]]], [[size[0]]]])
    channels = [127.5 + 120 * np.sin(a * x * 3 + b * y * 3) for a, b in waves]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


@pytest.fixture(scope="session")
def flower_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data folder with 6 training and 2 validation photos of each tiny class.

    Each class has its own color.
    """
    folder = tmp_path_factory.mktemp("flowers")
    for number, item in enumerate(TINY_CLASSES):
        shade = Image.new("RGB", (200, 180), f"hsl({60 * number}, 90%, 50%)")
        for part, count in (("train", 6), ("valid", 2)):
            (folder / part / item.class_id).mkdir(parents=True)
            for index in range(count):
                texture = flower_image((200, 180), seed=100 * number + index + len(part))
                path = folder / part / item.class_id / f"image_{index}.png"
                Image.blend(texture, shade, 0.8).save(path)
    names = {item.class_id: item.name for item in TINY_CLASSES}
    (folder / "cat_to_name.json").write_text(json.dumps(names))
    return folder


@contextmanager
def tiny_training() -> Iterator[None]:
    """Reset Accelerate's process-wide state, and write plots of one color until the block ends.

    Plots take most of the time of a tiny training.
    """
    # Accelerate has no public function for this.
    from accelerate.state import AcceleratorState, GradientState

    def reset() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_curves", "draw_samples"):
            patch.setattr(
                f"model.training.run_report.{name}",
                lambda path, *_: Image.new("RGB", (8, 8)).save(path, "PNG"),
            )
        reset()
        yield
        reset()


@pytest.fixture(name="tiny_training")
def _tiny_training() -> Iterator[None]:
    """Run the test in `tiny_training`."""
    with tiny_training():
        yield
