"""Start of the app: checkpoint, device and warm-up."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app import WarmUpError, create_app
from app.context import context_of
from app.settings import Settings
from model import BUNDLED_CHECKPOINT, BUNDLED_INT8
from model.backends.base import DeviceError, Outputs
from model.backends.torch_backend import TorchBackend
from model.checkpoint.metadata import CheckpointError
from model.classifier import Classifier
from tests.app.conftest import MakeApp, form
from tests.conftest import ROOT


def test_the_checkpoint_of_the_settings_is_loaded(tiny_checkpoint: Path, photo: bytes) -> None:
    app = create_app(Settings(checkpoint=tiny_checkpoint, device="cpu"))
    try:
        response = app.test_client().post("/predict", **form(photo))
        assert response.get_json()["model"]["checkpoint"] == "tiny.safetensors"
    finally:
        context_of(app).batcher.close()


def test_several_apps_have_their_own_settings(make_app: MakeApp, photo: bytes) -> None:
    small, large = make_app(max_body_mib=1), make_app()
    large_body = {"data": photo + b"\0" * 1_100_000, "content_type": "image/jpeg"}
    assert large.test_client().post("/predict", **large_body).status_code == 200
    assert small.test_client().post("/predict", **large_body).status_code == 413


def test_the_model_is_warmed_up_at_start(make_app: MakeApp) -> None:
    shapes = []

    def run(batch: np.ndarray) -> list[Outputs]:
        shapes.append(batch.shape)
        return [Outputs(np.zeros(6, dtype=np.float32), None)] * len(batch)

    app = make_app(run=run)
    side = context_of(app).classifier.metadata.transform.crop
    assert shapes == [(1, side, side, 3)]


def test_batch_sizes_are_warmed_up_until_memory_runs_out(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchBackend, "batch_sizes", lambda self, largest: [1, 2, 4, largest])
    sizes = []

    def run(batch: np.ndarray) -> list[Outputs]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise MemoryError
        return [Outputs(np.zeros(6, dtype=np.float32), None)] * len(batch)

    make_app(run=run, max_batch_size=8)
    assert sizes == [1, 2, 4]


def test_a_missing_checkpoint_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        create_app(Settings(checkpoint=tmp_path / "none.safetensors"))


def test_an_unknown_device_stops_the_start(tiny_checkpoint: Path) -> None:
    with pytest.raises(DeviceError):
        create_app(Settings(checkpoint=tiny_checkpoint, device="tpu"))


def test_logits_that_are_not_finite_stop_the_start(make_app: MakeApp) -> None:
    with pytest.raises(WarmUpError):
        make_app(run=lambda batch: [Outputs(np.full(6, np.nan, np.float32), None)] * len(batch))


def test_a_model_that_fails_in_its_warm_up_stops_the_start(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Classifier, batch: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Classifier, "outputs", broken)
    with pytest.raises(WarmUpError, match="RuntimeError"):
        create_app(Settings(checkpoint=tiny_checkpoint, device="cpu"))


@pytest.mark.slow
def test_the_master_process_does_not_import_torch() -> None:
    code = "import runpy, sys; runpy.run_path('gunicorn.conf.py'); print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={}, capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
@pytest.mark.parametrize(
    ("checkpoint", "is_returned"), [(BUNDLED_CHECKPOINT, False), (BUNDLED_INT8, True)]
)
def test_large_blocks_return_to_the_system_unless_pytorch_needs_them_again(
    checkpoint: Path, *, is_returned: bool
) -> None:
    code = (
        "import ctypes, runpy\n"
        "runpy.run_path('gunicorn.conf.py'); libc = ctypes.CDLL(None)\n"
        "class Info(ctypes.Structure):\n"
        "    _fields_ = [(f'field{n}', ctypes.c_size_t) for n in range(10)]\n"
        "libc.mallinfo2.restype, libc.malloc.restype = Info, ctypes.c_void_p\n"
        "maps = libc.mallinfo2().field3  # mapped blocks\n"
        "libc.malloc(ctypes.c_size_t(64 * 1024 * 1024))\n"
        "print(libc.mallinfo2().field3 > maps)"
    )
    settings = {"PETALSCOPE_CHECKPOINT": str(checkpoint), "PETALSCOPE_DEVICE": "cpu"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=settings, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout == f"{is_returned}\n"


@pytest.mark.slow
def test_a_worker_exempts_loaded_objects_from_garbage_collection() -> None:
    code = (
        "import gc, runpy\n"
        "hooks = runpy.run_path('gunicorn.conf.py'); before = len(gc.get_objects())\n"
        "hooks['exempt_from_garbage_collection']()\n"
        "print(before > 1000, len(gc.get_objects()) < before // 2)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={}, capture_output=True, text=True, check=True
    )
    assert result.stdout == "True True\n"
