"""Valid uploads with a few chunks of bytes flipped, deleted, inserted, spliced or repeated.

    seed, number -> mutation -> a request with a body that no one thought of

The same seed and number give the same request, so that one that did harm can be sent again.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tests.adversarial.kinds import NOISE, post
from tests.app.conftest import multipart
from tests.model.imaging.test_decode_refused import SAMPLES

_MOST_CHANGES: Final = 4
_LONGEST_CHUNK: Final = 200
_MOST_REPEATS: Final = 100
# Bytes at which decoders turn; all others come as noise.
_TURNING: Final = b'\0\1\x7f\x80\xfe\xff\r\n-"='

Upload = tuple[bytes, str]


def _valid() -> list[Upload]:
    files: list[Upload] = [(data, "image/any") for data in SAMPLES.values()]
    forms = (
        multipart(("image", "photo.jpg", SAMPLES["JPEG"])),
        multipart(("title", None, b"my garden"), ("image", "a.png", SAMPLES["PNG palette"])),
        multipart(*((f"field{number}", None, b"x") for number in range(9))),
    )
    return files + [(form["data"], form["content_type"]) for form in forms]


VALID: Final = _valid()


def mutation(seed: int, number: int) -> bytes:
    """Return the request of this number."""
    rng = np.random.default_rng((seed, number))
    data, content_type = VALID[rng.integers(len(VALID))]
    for _ in range(rng.integers(1, _MOST_CHANGES, endpoint=True)):
        data = _changed(data, rng)
    return post(data, content_type)


def _changed(data: bytes, rng: np.random.Generator) -> bytes:
    # Half of the changes go to the head, where they do the most.
    reach = len(data) if rng.integers(2) else min(len(data), 200)
    start = int(rng.integers(reach + 1))
    end = min(len(data), start + int(rng.integers(1, _LONGEST_CHUNK)))
    match rng.integers(7):
        case 0:  # flip bits
            chunk = bytearray(data[start : start + int(rng.integers(1, 9))])
            for at in range(len(chunk)):
                chunk[at] ^= 1 << int(rng.integers(8))
            return data[:start] + chunk + data[start + len(chunk) :]
        case 1:  # set bytes to what decoders turn at
            byte = _TURNING[rng.integers(len(_TURNING))]
            size = int(rng.integers(1, 9))
            return data[:start] + bytes([byte]) * size + data[start + size :]
        case 2:
            return data[:start] + data[end:]
        case 3:
            return data[:start]
        case 4:  # insert noise
            at = int(rng.integers(len(NOISE) - _LONGEST_CHUNK))
            return data[:start] + NOISE[at : at + end - start] + data[start:]
        case 5:  # splice: go on with a piece of another upload
            other, _ = VALID[rng.integers(len(VALID))]
            at = int(rng.integers(len(other)))
            return data[:start] + other[at : at + int(rng.integers(1, 2000))] + data[end:]
        case _:  # repeat
            times = int(rng.integers(2, _MOST_REPEATS))
            return data[:start] + data[start:end] * times + data[end:]
