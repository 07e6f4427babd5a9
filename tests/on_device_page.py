"""A page that only loads the model in the browser, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app import create_app
from app.context import context_of
from app.settings import Settings
from tests.conftest import ROOT
from tests.file_server import FileServer, running_file_server

_SCRIPTS: Final = ROOT / "app" / "web" / "static" / "on_device"
# Headers with which a page gets threads.
ISOLATED: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
# Functions for the page: `load` returns the model, `classify` the results of photos on the server.
_HTML: Final = """<!doctype html><title>Model</title><link rel="icon" href="data:,">
<script type="module">
  window.load = async (options = {}) => {
    const { FlowerModel } = await import("/on_device/flower_model.js");
    const runtime = await import("/on_device/onnxruntime/ort.wasm.bundle.min.mjs");
    const packed = await fetch("/on_device/onnxruntime/ort-wasm-simd-threaded.wasm.gz");
    const unpacked = packed.body.pipeThrough(new DecompressionStream("gzip"));
    runtime.env.wasm.wasmBinary = await new Response(unpacked).arrayBuffer();
    const model = await (await fetch("/model.onnx")).arrayBuffer();
    return FlowerModel.load({ runtime, model, ...options });
  };
  window.photo = async (path) => (await fetch(path)).blob();
  window.classify = async (paths, options = {}) => {
    window.model ??= await load();
    const results = [];
    for (const path of paths) results.push(await model.classify(await photo(path), options));
    return results;
  };
</script>
"""


@contextmanager
def serving_model(
    checkpoint: Path, headers: Mapping[str, str] | None = None
) -> Iterator[FileServer]:
    """Serve the page at / until the block ends.

    Args:
        checkpoint: The ONNX file.
        headers: Headers of each response.
    """
    with running_file_server() as server:
        server.headers.update(headers or {})
        server.files["/"] = server.files["/index.html"] = _HTML.encode()
        server.files["/model.onnx"] = checkpoint.read_bytes()
        for path in _SCRIPTS.rglob("*"):
            if path.is_file():
                name = path.relative_to(_SCRIPTS).as_posix()
                server.files[f"/on_device/{name}"] = path.read_bytes()
        yield server


def results_of_service(checkpoint: Path, photos: Sequence[bytes]) -> list[Any]:
    """Return the response of POST /predict to each photo."""
    app = create_app(Settings(checkpoint=checkpoint, device="cpu", log_level="warning"))
    try:
        client = app.test_client()
        responses = [
            client.post("/predict", data=photo, content_type="image/*") for photo in photos
        ]
        return [response.get_json() for response in responses]
    finally:
        context_of(app).close()


def add_photos(server: FileServer, photos: Sequence[bytes]) -> list[str]:
    """Serve photos; return their paths."""
    paths = [f"/photos/{number}" for number in range(len(photos))]
    server.files.update(zip(paths, photos, strict=True))
    return paths


@dataclass(frozen=True)
class Agreement:
    """Agreement of the results of two ways to classify the same photos.

    Attributes:
        photos: Number of photos.
        same_class: Share of photos with the same first class.
        same_verdict: Share of photos with the same verdict.
        difference: Mean absolute difference of the first probability.
    """

    photos: int
    same_class: float
    same_verdict: float
    difference: float

    @classmethod
    def of(cls, expected: Sequence[Any], got: Sequence[Any]) -> Agreement:
        """Compare results in the form of POST /predict."""
        pairs = list(zip(expected, got, strict=True))
        first = [(one["predictions"][0], other["predictions"][0]) for one, other in pairs]
        count = len(pairs)
        return cls(
            count,
            sum(one["class_id"] == other["class_id"] for one, other in first) / count,
            sum(one["verdict"] == other["verdict"] for one, other in pairs) / count,
            sum(abs(one["probability"] - other["probability"]) for one, other in first) / count,
        )
