"""Routes of the files with which the page identifies photos on the visitor's device.

The page downloads them once the visitor accepts its offer; `static/on_device/` has the scripts. A
checkpoint that is no ONNX file needs one beside it, which `scripts/export.py` writes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from flask import Blueprint, Flask, Response, current_app, jsonify, request, send_file, url_for

from app.context import context_of, current_context
from app.http.caching import cacheable, cacheable_version
from app.http.json_body import JSON
from app.http.problems import Code, Problem, quoted
from app.http.route_options import route_options
from app.http.security_headers import CONTENT_SECURITY_POLICY, WASM_POLICY
from app.inference.pipeline import DEFAULT_TOP_K
from app.schemas.serialization import serialize_prediction
from app.web.styles import STYLES_FOLDER
from app.web.translations import LANGUAGE_PARAMETER, message_catalogs, messages
from model import int8_path

on_device: Final = Blueprint("on_device", __name__)

_EXTENSION: Final = "petalscope.on_device"
_SCRIPTS: Final = "on_device"  # folders of the static files
_RUNTIME: Final = f"{_SCRIPTS}/onnxruntime"
_WORKER: Final = f"{_SCRIPTS}/worker.js"
_CATALOG: Final = "catalog"
_SCRIPT_TYPE: Final = "text/javascript"
_BINARY_TYPE: Final = "application/octet-stream"
_VERSION_LENGTH: Final = 16
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceFile:
    """A file on the disk that the page downloads.

    Attributes:
        path: The file.
        media_type: Its media type.
        size: Its size in bytes.
        digest: Its SHA-256, in hexadecimal digits.
    """

    path: Path
    media_type: str
    size: int
    digest: str

    @classmethod
    def of(cls, path: Path, media_type: str) -> DeviceFile:
        """Read the size and the digest of a file."""
        data = path.read_bytes()
        return cls(path, media_type, len(data), _digest(data))


@dataclass(frozen=True)
class DeviceOffer:
    """The files of a service that lets visitors identify photos on their devices.

    Attributes:
        files: The files by name; the catalog is made by each request.
        is_default: The page identifies on the device unless the visitor declines.
        megabytes: Size of the download, in millions of bytes, rounded.
    """

    files: Mapping[str, DeviceFile]
    is_default: bool
    megabytes: int


def init_on_device(app: Flask) -> None:
    """Offer identification on the device, if the settings and the checkpoint allow it."""
    service = context_of(app)
    choice, model = service.settings.on_device, _onnx_file(service.checkpoint)
    offer = None
    if choice != "off" and model is not None:
        offer = _offer(app, model, is_default=choice == "default")
        app.register_blueprint(on_device)
    elif choice == "default":
        _log.warning(
            "PETALSCOPE_ON_DEVICE is default, but %s has no ONNX file beside it; photos are "
            "identified on the server. scripts/export.py writes one.",
            service.checkpoint.name,
        )
    app.extensions[_EXTENSION] = offer
    app.jinja_env.globals.update(
        on_device=current_offer, on_device_texts=lambda: messages("on_device")
    )


def current_offer() -> DeviceOffer | None:
    """Return the offer of the app that handles the current request; None if it has none."""
    return cast("DeviceOffer | None", current_app.extensions[_EXTENSION])


def _onnx_file(checkpoint: Path) -> Path | None:
    """Return the checkpoint if it is an ONNX file, else its export beside it, or None."""
    if checkpoint.suffix == ".onnx":
        return checkpoint
    exported = (int8_path(checkpoint), checkpoint.with_suffix(".onnx"))
    return next((path for path in exported if path.is_file()), None)


def _offer(app: Flask, model: Path, *, is_default: bool) -> DeviceOffer:
    folder = Path(cast(str, app.static_folder))
    runtime = folder / _RUNTIME
    files = {
        "model": DeviceFile.of(model, _BINARY_TYPE),
        "runtime": DeviceFile.of(runtime / "ort.wasm.bundle.min.mjs", _SCRIPT_TYPE),
        "wasm": DeviceFile.of(runtime / "ort-wasm-simd-threaded.wasm.gz", _BINARY_TYPE),
    }
    scripts = sum((folder / name).stat().st_size for name in _static_files(folder))
    total = scripts + sum(file.size for file in files.values())
    return DeviceOffer(files, is_default, max(1, round(total / 1e6)))


@on_device.get("/on-device/manifest")
def manifest() -> Response:
    """List what to download: the files, and the pages and static files that the worker serves."""
    offer = _required_offer()
    catalog = _catalog()
    files = {
        name: _entry(name, file.media_type, file.size, file.digest)
        for name, file in offer.files.items()
    }
    files[_CATALOG] = _entry(_CATALOG, JSON, len(catalog), _digest(catalog))
    options = _options()
    folder = Path(cast(str, current_app.static_folder))
    names = list(_static_files(folder))
    response = jsonify(
        version=_version(json.dumps([files, options]).encode()),
        scripts=_version(b"".join((folder / name).read_bytes() for name in names)),
        files=files,
        pages=[url_for("pages.index"), url_for("flowers.index")],
        translations=[
            f"{url_for('pages.index')}?{LANGUAGE_PARAMETER}={code}" for code in message_catalogs()
        ],
        static=[
            url_for("styles.sheet"),
            *(url_for("static", filename=name) for name in names if not _is_joined(name)),
        ],
        options=options,
    )
    return cacheable(response)


@on_device.get("/on-device/files/<file>")
def download(file: str) -> Response:
    """Return one of the manifest's files; byte ranges resume a download."""
    if file == _CATALOG:
        data = _catalog()
        response = cacheable(Response(data, mimetype=JSON))
        return cacheable_version(response, _version(data))
    found = _required_offer().files.get(file)
    if found is None:
        raise Problem(Code.NOT_FOUND, f"There is no file at {quoted(request.path)}.")
    response = send_file(found.path, mimetype=found.media_type, etag=found.digest)
    response.cache_control.public = True
    if found.media_type == _SCRIPT_TYPE:  # the runtime starts its threads as workers of this script
        response.headers[CONTENT_SECURITY_POLICY] = WASM_POLICY
    return cacheable_version(response, found.digest[:_VERSION_LENGTH])


@on_device.get(f"/static/{_WORKER}")
@route_options(is_public=True)
def worker() -> Response:
    """Return the script of the worker that runs the model, the only one that may compile code."""
    response = current_app.send_static_file(_WORKER)
    response.headers[CONTENT_SECURITY_POLICY] = WASM_POLICY
    return response


def _options() -> dict[str, Any]:
    """Return the options of `classify` in flower_model.js that equal those of POST /predict."""
    service = current_context()
    limits = service.settings.image_limits
    return {
        "topK": min(DEFAULT_TOP_K, len(service.classifier.metadata.classes)),
        "limits": {"maxPixels": limits.max_pixels, "minSide": limits.min_side},
    }


def _required_offer() -> DeviceOffer:
    offer = current_offer()
    assert offer is not None  # noqa: S101 - without an offer there are no routes
    return offer


def _catalog() -> bytes:
    """Return what POST /predict adds to the probability of each class, as a JSON list."""
    classes = current_context().classifier.metadata.classes
    items = [
        serialize_prediction(item, 0).model_dump(mode="json", exclude={"probability"})
        for item in classes
    ]
    return json.dumps(items, ensure_ascii=False, separators=(",", ":")).encode()


def _entry(name: str, media_type: str, size: int, digest: str) -> dict[str, Any]:
    url = url_for("on_device.download", file=name, v=digest[:_VERSION_LENGTH])
    return {"url": url, "type": media_type, "bytes": size, "sha256": digest}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _version(data: bytes) -> str:
    return _digest(data)[:_VERSION_LENGTH]


def _is_joined(name: str) -> bool:
    """Return True for a part of the style sheet, which pages get as one file."""
    return name.startswith(f"{STYLES_FOLDER}/")


def _static_files(folder: Path) -> Iterator[str]:
    """Yield the names of the static files that the pages need, without the runtime."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(f"{_RUNTIME}/"):
            yield name
