"""Command line that refreshes the copy of ONNX Runtime Web from the npm registry.

python scripts/vendor_onnxruntime.py
python scripts/vendor_onnxruntime.py 1.31.0
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from model.errors import PetalscopeError
from scripts.command_line import command

PACKAGE: Final = "onnxruntime-web"
FOLDER: Final = (
    Path(__file__).parent.parent / "app" / "web" / "static" / "on_device" / "onnxruntime"
)
RECORD: Final = "version.json"
# The build with only the WebAssembly backend, with its loader in the same file.
SCRIPT: Final = "ort.wasm.bundle.min.mjs"
WASM: Final = "ort-wasm-simd-threaded.wasm"


class VendorError(PetalscopeError):
    """A package that cannot be downloaded, or whose files are not those of the registry."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for a one-line error, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="vendor_onnxruntime.py",
        description="Download ONNX Runtime Web with npm, check its SHA-512 against the registry's, "
        "and replace the copy that the service sends to browsers.",
    )
    parser.add_argument(
        "version", nargs="?", metavar="VERSION", help="default: the version of the present copy"
    )
    parser.add_argument(
        "--output", type=Path, default=FOLDER, metavar="DIR", help="default: the present copy"
    )
    options = parser.parse_args(argv)
    version = options.version or json.loads((FOLDER / RECORD).read_text())["version"]
    integrity = _npm("view", f"{PACKAGE}@{version}", "dist.integrity", "--json")
    with tempfile.TemporaryDirectory() as folder:
        packed = _npm("pack", f"{PACKAGE}@{version}", "--json", "--pack-destination", folder)
        archive = Path(folder, packed[0]["filename"])
        _check(archive, integrity)
        files = _read(archive)
    for name, data in files.items():
        (options.output / name).write_bytes(data)
    record = {
        "package": PACKAGE,
        "version": version,
        "integrity": integrity,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    (options.output / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    total = sum(map(len, files.values()))
    print(f"{options.output} has {PACKAGE} {version} ({total / 1e6:.1f} MB).")
    return 0


def _npm(*arguments: str) -> Any:
    """Run npm and return the JSON that it prints."""
    try:
        done = subprocess.run(  # noqa: S603
            ["npm", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)
    except FileNotFoundError:
        raise VendorError("npm is missing; install Node.js.") from None
    except (subprocess.CalledProcessError, ValueError) as error:
        raise VendorError(
            f"npm {arguments[0]} {arguments[1]} failed; check the version and the connection."
        ) from error


def _check(archive: Path, integrity: str) -> None:
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode("ascii")
    if integrity != f"sha512-{digest}":
        raise VendorError(f"The SHA-512 of {archive.name} is not the registry's; try again.")


def _read(archive: Path) -> dict[str, bytes]:
    """Return the files of the copy: the script, and the WebAssembly compressed."""
    with tarfile.open(archive) as package:
        try:
            script, wasm = (
                package.extractfile(f"package/dist/{name}").read()  # type: ignore[union-attr]
                for name in (SCRIPT, WASM)
            )
        except KeyError as error:
            raise VendorError(f"The package has no file {error}; adapt this script.") from error
    # The same bytes at each run. Every browser with WebAssembly SIMD decompresses gzip.
    return {SCRIPT: script, f"{WASM}.gz": gzip.compress(wasm, 9, mtime=0)}


if __name__ == "__main__":
    sys.exit(main())
