"""Problem codes of files that cannot be decoded, compared with the service's."""

from __future__ import annotations

import base64
import io
import json
import time

import pytest
from PIL import Image

from app.http.problems import Problem
from app.inference.photos import prepare_photo
from model.imaging.limits import ImageLimits
from model.imaging.transforms import EvaluationTransform
from tests.app.web.on_device import SCRIPTS
from tests.conftest import flower_image
from tests.node import imported, run_in_node

IMPORTS = imported("isCut, statedPixels, undecodableCode", SCRIPTS / "photo_format.js")
TRANSFORM = EvaluationTransform(64, 64, "bicubic", (0.5,) * 3, (0.5,) * 3)


def encoded(kind: str, size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    file = io.BytesIO()
    flower_image(size).save(file, kind, **options)
    return file.getvalue()


JPEG, PNG = encoded("JPEG"), encoded("PNG")
FRAME = JPEG.index(b"\xff\xc0")
UNDECODABLE = {
    "first byte of a JPEG": b"\xff",
    "JPEG signature": b"\xff\xd8\xff",
    "damaged JPEG": JPEG[:200],
    "12-bit JPEG": JPEG[: FRAME + 4] + b"\x0c" + JPEG[FRAME + 5 :],
    "lossless JPEG": JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1),
    "hierarchical JPEG": JPEG.replace(b"\xff\xc0", b"\xff\xc5", 1),
    "PNG signature": PNG[:8],
    "PNG of an iOS app": PNG[:8] + b"\0\0\0\4CgBI\x50\0\x20\2" + bytes(4) + PNG[8:],
    "GIF": b"GIF89a",
    "WebP": b"RIFF\x20\0\0\0WEBPVP8 ",
    "sound": b"RIFF\x20\0\0\0WAVEfmt ",
    "AVIF": b"\0\0\0\x1cftypavif" + bytes(20),
    "BMP": b"BM" + bytes(60),
    "PDF": b"%PDF-1.7\n",
    "HEIC": b"\0\0\0\x1cftypheic" + bytes(20),
    "video": b"\0\0\0\x1cftypisom" + bytes(20),
    "SVG": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
    "HTML": b"<!doctype html><title>404</title>",
    "ZIP": b"PK\x03\x04" + bytes(30),
    "letter": b"Dear Sir, I know not what flower this is.",
    "base64": base64.b64encode(JPEG),
    "data URL": b"data:image/jpeg;base64," + base64.b64encode(JPEG),
    "JPEG converted to UTF-8": JPEG.decode("latin-1").encode(),
    "JPEG with replacement characters": JPEG.decode(errors="replace").encode(),
    "JPEG converted to ASCII": bytes(byte if byte < 128 else ord("?") for byte in JPEG),
    "binary data": bytes(range(256)) * 4,
    "zeros": bytes(100),
}  # fmt: skip


def code_of_service(data: bytes) -> str:
    with pytest.raises(Problem) as caught:
        prepare_photo(data, ImageLimits(), TRANSFORM, time.monotonic() + 60)
    return caught.value.code.value


def test_codes_are_those_of_the_service() -> None:
    files = {name: list(data) for name, data in UNDECODABLE.items()}
    got = run_in_node(
        IMPORTS,
        f"return Object.entries({json.dumps(files)})"
        ".map(([name, bytes]) => [name, undecodableCode(Uint8Array.from(bytes))]);",
    )
    assert dict(got) == {name: code_of_service(data) for name, data in UNDECODABLE.items()}


def test_the_size_is_read_from_the_header() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a" * 30_000
    files = (
        JPEG,
        encoded("JPEG", progressive=True, exif=exif, icc_profile=b"\xff\xc0" * 20_000),
        PNG,
        encoded("GIF"),
        JPEG[:FRAME],
        JPEG[: FRAME + 6],
        PNG[:20],
        b"",
    )
    got = run_in_node(
        IMPORTS,
        f"return {json.dumps([list(data) for data in files])}"
        ".map((bytes) => statedPixels(Uint8Array.from(bytes)));",
    )
    assert got == [64 * 48, 64 * 48, 64 * 48, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_files_without_all_pixels_are_found(kind: str) -> None:
    files = [encoded(kind)]
    for mode in ("L", "P", "1"):
        file = io.BytesIO()
        flower_image((61, 48)).convert(mode).save(file, kind)
        files.append(file.getvalue())
    for whole in files:
        lengths = [*range(8, len(whole) - 20, max(1, len(whole) // 40)), len(whole)]
        got = run_in_node(
            IMPORTS,
            f"const whole = Uint8Array.from({list(whole)});"
            f"return {lengths}.map((length) => isCut(whole.subarray(0, length)));",
        )
        assert got[-1] is False
        expected = [is_refused(whole[:length]) for length in lengths]
        # At the border of two blocks, nothing is missing by their lengths.
        assert sum(one != other for one, other in zip(got, expected, strict=True)) <= 3


def is_refused(data: bytes) -> bool:
    try:
        prepare_photo(data, ImageLimits(), TRANSFORM, time.monotonic() + 60)
    except Problem:
        return True
    return False
