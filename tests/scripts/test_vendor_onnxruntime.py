"""Command line of `vendor_onnxruntime.py` with a fake npm, and the copy in the repository."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from scripts.vendor_onnxruntime import FOLDER, RECORD, SCRIPT, WASM, main

# `npm view` prints the file `integrity`, `npm pack` copies the archive.
NPM = """#!/bin/sh
cd "$(dirname "$0")"
case $1 in
    view) cat integrity ;;
    pack) cp package.tgz "$5/package.tgz"; echo '[{"filename": "package.tgz"}]' ;;
esac
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a fake npm and a package, which come first on the PATH."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "npm").write_text(NPM)
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    publish(folder, {SCRIPT: b"export {};", WASM: b"\0asm" * 100})
    return folder


def publish(folder: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(folder / "package.tgz", "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    digest = hashlib.sha512((folder / "package.tgz").read_bytes()).digest()
    integrity = f"sha512-{base64.b64encode(digest).decode()}"
    (folder / "integrity").write_text(json.dumps(integrity))


def test_the_files_and_their_digests_are_written(registry: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    output.mkdir()
    assert main(["2.0.0", "--output", str(output)]) == 0
    assert (output / SCRIPT).read_bytes() == b"export {};"
    assert gzip.decompress((output / f"{WASM}.gz").read_bytes()) == b"\0asm" * 100
    record = json.loads((output / RECORD).read_text())
    assert record["version"] == "2.0.0"
    assert record["integrity"] == json.loads((registry / "integrity").read_text())


def test_an_archive_with_another_digest_is_refused(
    registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (registry / "integrity").write_text('"sha512-AAAA"')
    assert main(["2.0.0", "--output", str(tmp_path)]) == 1
    assert "SHA-512" in capsys.readouterr().err
    assert not (tmp_path / RECORD).exists()


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda folder: publish(folder, {SCRIPT: b""}), WASM),
        (lambda folder: (folder / "integrity").unlink(), "npm view"),
        (lambda folder: (folder / "package.tgz").write_bytes(b""), "SHA-512"),
    ],
)
def test_other_failures_have_a_message(
    damage: object, cause: str, registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    damage(registry)
    assert main(["2.0.0", "--output", str(tmp_path)]) == 1
    assert cause in capsys.readouterr().err


def test_a_missing_npm_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--output", str(tmp_path)]) == 1
    assert "Node.js" in capsys.readouterr().err


def test_the_copy_in_the_repository_is_unchanged() -> None:
    record = json.loads((FOLDER / RECORD).read_text())
    assert set(record["sha256"]) == {SCRIPT, f"{WASM}.gz"}
    for name, digest in record["sha256"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert f"ONNX Runtime Web v{record['version']}" in (FOLDER / SCRIPT).read_text()
