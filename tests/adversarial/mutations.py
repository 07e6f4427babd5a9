"""Mutations of valid uploads: chunks of bytes flipped, deleted, inserted, spliced or repeated.

A seed and a number determine the request, so a failure can be reproduced.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final

import numpy as np

from tests.adversarial.cases import NOISE, post
from tests.app.conftest import multipart
from tests.model.imaging.test_decode_refused import SAMPLES

_MAX_CHANGES: Final = 4
_MAX_CHUNK_BYTES: Final = 200
_MAX_REPEATS: Final = 100
# Bytes with a meaning for decoders and parsers.
_MARKER_BYTES: Final = b'\0\1\x7f\x80\xfe\xff\r\n-"=[{,\\'

Upload = tuple[bytes, str]


def _valid_uploads() -> list[Upload]:
    files: list[Upload] = [(data, "image/any") for data in SAMPLES.values()]
    forms = (
        multipart(("image", "photo.jpg", SAMPLES["JPEG"])),
        multipart(("image", None, SAMPLES["JPEG"]), ("image", "", b"")),
        multipart(("title", None, b"my garden"), ("image", "a.png", SAMPLES["PNG palette"])),
        multipart(*((f"field{number}", None, b"x") for number in range(9))),
    )
    files.append((_in_json(SAMPLES["JPEG"]), "application/json"))
    return files + [(form["data"], form["content_type"]) for form in forms]


def _in_json(photo: bytes) -> bytes:
    return b'{"image": "data:image/jpeg;base64,%s", "top_k": 2}' % b64encode(photo)


VALID: Final = _valid_uploads()


def mutation(seed: int, number: int) -> bytes:
    """Return the request for this seed and number."""
    rng = np.random.default_rng((seed, number))
    data, content_type = VALID[rng.integers(len(VALID))]
    for _ in range(rng.integers(1, _MAX_CHANGES, endpoint=True)):
        data = _mutate(data, rng)
    return post(data, content_type)


def _mutate(data: bytes, rng: np.random.Generator) -> bytes:
    # Half of the changes hit the header, where parsers make most decisions.
    reach = len(data) if rng.integers(2) else min(len(data), 200)
    start = int(rng.integers(reach + 1))
    end = min(len(data), start + int(rng.integers(1, _MAX_CHUNK_BYTES)))
    match rng.integers(7):
        case 0:  # flip bits
            chunk = bytearray(data[start : start + int(rng.integers(1, 9))])
            for at in range(len(chunk)):
                chunk[at] ^= 1 << int(rng.integers(8))
            return data[:start] + chunk + data[start + len(chunk) :]
        case 1:  # overwrite with marker bytes
            byte = _MARKER_BYTES[rng.integers(len(_MARKER_BYTES))]
            size = int(rng.integers(1, 9))
            return data[:start] + bytes([byte]) * size + data[start + size :]
        case 2:
            return data[:start] + data[end:]
        case 3:
            return data[:start]
        case 4:  # insert noise
            at = int(rng.integers(len(NOISE) - _MAX_CHUNK_BYTES))
            return data[:start] + NOISE[at : at + end - start] + data[start:]
        case 5:  # splice a piece of another upload
            other, _ = VALID[rng.integers(len(VALID))]
            at = int(rng.integers(len(other)))
            return data[:start] + other[at : at + int(rng.integers(1, 2000))] + data[end:]
        case _:  # repeat
            times = int(rng.integers(2, _MAX_REPEATS))
            return data[:start] + data[start:end] * times + data[end:]
