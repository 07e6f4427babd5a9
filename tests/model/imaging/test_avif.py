"""AV1 frame sizes read from AVIF files."""

from __future__ import annotations

import struct

import pytest

from model.imaging.avif import AvifStructureError, av1_sizes
from tests.conftest import flower_image
from tests.model.imaging.test_decode import encode

PHOTO = flower_image((70, 50))
STILL = encode(PHOTO, "AVIF", speed=10)


def sizes(data: bytes) -> list[tuple[int, int]]:
    return [(size.width, size.height) for size in av1_sizes(data)]


def test_the_color_and_alpha_planes_have_a_size_each() -> None:
    assert sizes(STILL) == [(70, 50)]
    assert sizes(encode(PHOTO.convert("LA").convert("RGBA"), "AVIF", speed=10))[0] == (70, 50)
    fading = PHOTO.copy()
    fading.putalpha(128)
    assert sizes(encode(fading, "AVIF", speed=10)) == [(70, 50)] * 2


def test_the_size_of_the_container_is_ignored() -> None:
    stated = struct.pack(">II", 70, 50)
    assert stated in STILL
    assert sizes(STILL.replace(stated, struct.pack(">II", 16, 16))) == [(70, 50)]


def test_an_animation_counts_the_maximum_frame_size() -> None:
    frames = [flower_image((70, 50), seed=1)]
    data = encode(PHOTO, "AVIF", speed=10, save_all=True, append_images=frames)
    assert set(sizes(data)) == {(70, 50)}
    assert all(size.max_pixels == 128 * 64 for size in av1_sizes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        STILL[:200],
        STILL[: STILL.index(b"mdat") - 4],
        STILL.replace(b"iloc", b"free"),
        STILL.replace(b"av01", b"hvc1"),
        b"\0\0\0\4free",
        b"\0\0\0\1free" + bytes(8),
    ],
)
def test_a_file_without_a_readable_sequence_header_is_refused(data: bytes) -> None:
    with pytest.raises(AvifStructureError):
        av1_sizes(data)
